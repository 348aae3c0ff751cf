// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sender sends notifications of its own making, as many at once as it has
// workers, and remembers which of them were acknowledged.
type sender struct {
	address string
	timeout time.Duration // of a request
	next    atomic.Uint32
	failed  atomic.Int64

	mu           sync.Mutex
	acknowledged map[uint32]bool
	failures     []string // what the first ones were
	slowest      time.Duration
}

func newSender(address string) *sender {
	return &sender{address: address, timeout: 10 * time.Second, acknowledged: make(map[uint32]bool)}
}

// run sends until ctx ends.
func (s *sender) run(ctx context.Context, workers int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}, Timeout: s.timeout}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				uid := s.next.Add(1)
				begin := time.Now()
				status, answer, err := put(client, s.address, notification(uid))
				s.mu.Lock()
				if err != nil || status != http.StatusOK {
					s.failed.Add(1)
					if len(s.failures) < 5 {
						s.failures = append(s.failures, fmt.Sprint(status, " ", answer, err))
					}
					s.mu.Unlock()
					continue
				}
				s.acknowledged[uid] = true
				s.slowest = max(s.slowest, time.Since(begin))
				s.mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func (s *sender) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acknowledged)
}

// missing returns how many acknowledged notifications are not among got, and
// how many of got came more than once.
func (s *sender) missing(got []received) (missing, again int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	came := make(map[uint32]int)
	for _, n := range got {
		came[n.UID]++
	}
	for uid := range s.acknowledged {
		if came[uid] == 0 {
			missing++
		}
	}
	for _, n := range came {
		again += n - 1
	}
	return missing, again
}

func notification(uid uint32) string {
	return fmt.Sprintf(`{"user":"somebody@example.com","event":"messageNew","folder":"INBOX","imap-uidvalidity":1795452971,`+
		`"imap-uid":%d,"from":"Alice <alice@example.net>","subject":"number %d","snippet":"Hello","unseen":1}`, uid, uid)
}

// put sends one notification and returns the answer. When the connection is
// lost it sends the same once more after 100 ms, as Dovecot does: a server that
// reloads may close an idle connection just when a request is on its way, or
// the socket that a new one was waiting at.
func put(client *http.Client, address, body string) (status int, answer string, err error) {
	date := time.Now().UTC().Format(http.TimeFormat)
	status, answer, err = attempt(client, address, body, date)
	if err != nil {
		time.Sleep(100 * time.Millisecond)
		fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: client.Timeout}
		status, answer, err = attempt(fresh, address, body, date)
	}
	return status, answer, err
}

// taken reports a mail until it is taken: a busy machine may not store it in time at
// first.
func taken(t testing.TB, address, body string) {
	t.Helper()
	require.Eventually(t, func() bool {
		status, answer, err := put(http.DefaultClient, address, body)
		require.NoError(t, err)
		require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, status, answer)
		return status == http.StatusOK
	}, waitTimeout, 50*time.Millisecond)
}

func attempt(client *http.Client, address, body, date string) (status int, answer string, err error) {
	r, err := http.NewRequest(http.MethodPut, "http://"+address+notifyPath, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("Date", date)
	r.SetBasicAuth(notifyUser, notifyPassword)
	resp, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func writeFile(dir, name, content string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)
}
