// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// person is somebody with a browser, as far as the API is concerned.
type person struct {
	t      testing.TB
	client *http.Client
	site   string // URL of the API
	before func(*http.Request)
}

// newPerson visits a site whose certificate the CA in the file has signed.
func newPerson(t testing.TB, site, caFile string) *person {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		require.NoError(t, err)
		roots := x509.NewCertPool()
		require.True(t, roots.AppendCertsFromPEM(pem))
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	t.Cleanup(transport.CloseIdleConnections)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &person{t: t, client: &http.Client{Jar: jar, Transport: transport}, site: site}
}

// as makes all requests show a login.
func (p *person) as(user, password string) *person {
	p.before = func(r *http.Request) { r.SetBasicAuth(user, password) }
	return p
}

func (p *person) request(ctx context.Context, method, path, body string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, p.site+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if p.before != nil {
		p.before(r)
	}
	return p.client.Do(r)
}

// call sends a request and returns the status and the members of the answer.
func (p *person) call(method, path, body string) (status int, answer map[string]any) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), waitTimeout)
	defer cancel()
	resp, err := p.request(ctx, method, path, body)
	require.NoError(p.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	_ = json.Unmarshal(text, &answer)
	return resp.StatusCode, answer
}

// awaitDevices waits until a Caddy that has just started has read the devices.
func (p *person) awaitDevices() {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		status, _ := p.call(http.MethodGet, "/api/subscriptions", "")
		return status == http.StatusOK
	}, waitTimeout, 50*time.Millisecond)
}

func (p *person) signIn(user, password string) int {
	p.t.Helper()
	login, err := json.Marshal(map[string]string{"username": user, "password": password})
	require.NoError(p.t, err)
	status, _ := p.call(http.MethodPost, "/api/session", string(login))
	return status
}

// mail is the data of an event.
type mail struct {
	ID, Folder, Event, From, Subject, Source string
	UID                                      uint32
	Unseen                                   uint32
	Time                                     time.Time
}

// listener has a stream open, and opens it again whenever it ends.
type listener struct {
	p      *person
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	mails   []mail
	resets  int
	opened  int
	refused []int // statuses but 200
}

func (p *person) listen() *listener {
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{p: p, cancel: cancel}
	l.done.Go(func() {
		lastID := ""
		for ctx.Err() == nil {
			lastID = l.stream(ctx, lastID)
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond): // not as long as it was told, to lose no time
			}
		}
	})
	p.t.Cleanup(l.stop)
	return l
}

func (l *listener) stop() {
	l.cancel()
	l.done.Wait()
}

// stream reads one stream to its end, and returns where it was then.
func (l *listener) stream(ctx context.Context, lastID string) string {
	p := *l.p
	before := p.before
	p.before = func(r *http.Request) {
		if before != nil {
			before(r)
		}
		if lastID != "" {
			r.Header.Set("Last-Event-ID", lastID)
		}
	}
	resp, err := p.request(ctx, http.MethodGet, "/api/events", "")
	if err != nil {
		return lastID // it is being started
	}
	defer resp.Body.Close()
	l.mu.Lock()
	if resp.StatusCode != http.StatusOK {
		l.refused = append(l.refused, resp.StatusCode)
		l.mu.Unlock()
		return lastID
	}
	l.opened++
	l.mu.Unlock()
	var event, data string
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "":
			if data != "" {
				l.take(event, data)
			}
			event, data = "", ""
		case "id":
			lastID = value
		case "event":
			event = value
		case "data":
			data = value
		}
	}
	return lastID
}

func (l *listener) take(event, data string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if event == "reset" {
		l.resets++
		return
	}
	var m mail
	if err := json.Unmarshal([]byte(data), &m); err != nil {
		panic(err)
	}
	l.mails = append(l.mails, m)
}

func (l *listener) got() []mail {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]mail(nil), l.mails...)
}

// wait waits for n mails.
func (l *listener) wait(n int) []mail {
	l.p.t.Helper()
	require.Eventually(l.p.t, func() bool { return len(l.got()) >= n }, waitTimeout, 5*time.Millisecond, "of %d mails", n)
	return l.got()
}

// connected waits until the stream is open for the nth time.
func (l *listener) connected(n int) {
	l.p.t.Helper()
	require.Eventually(l.p.t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.opened >= n
	}, waitTimeout, time.Millisecond, "stream number %d", n)
}
