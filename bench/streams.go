// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	idleStreams  = 10_000
	busyStreams  = 1_000
	streamUsers  = 100 // who may have a hundred streams each
	streamEvents = 200
)

// streamUID makes every mail another one.
var streamUID atomic.Uint32

// streaming is a site with event streams for the users person0@example.com and
// so on, whose password is that of the endpoint.
func streaming() (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return "", err
	}
	var accounts strings.Builder
	for i := range streamUsers {
		fmt.Fprintf(&accounts, "%s %s\n", streamUser(i), hash)
	}
	return strings.Replace(accepting("", "sync always"), "dovecot_push_notify", `basic_auth /push/* {
		`+accounts.String()+`
	}
	dovecot_push_api {
		login caddy
	}
	dovecot_push_notify`, 1), nil
}

func streamUser(i int) string { return fmt.Sprintf("person%d@example.com", i%streamUsers) }

// streams measures what an open stream takes, and how soon an event is with
// everybody.
func (b *bench) streams() error {
	caddyfile, err := streaming()
	if err != nil {
		return err
	}
	s, err := b.caddy(b.binary, caddyfile)
	if err != nil {
		return err
	}
	if err := idle(s); err != nil {
		return err
	}
	return fanOut(s)
}

// idle opens many streams where nothing happens.
func idle(s *server) error {
	warm, err := openStreams(s.address, streamUsers)
	if err != nil {
		return err
	}
	warm.close()
	time.Sleep(5 * time.Second)
	before, err := residentMemory(s.PID())
	if err != nil {
		return err
	}
	open, err := openStreams(s.address, idleStreams)
	if err != nil {
		return err
	}
	defer open.close()
	time.Sleep(45 * time.Second) // each has had a heartbeat
	after, err := residentMemory(s.PID())
	if err != nil {
		return err
	}
	cpu, err := processorTime(s.PID())
	if err != nil {
		return err
	}
	const watched = 20 * time.Second
	time.Sleep(watched)
	later, err := processorTime(s.PID())
	if err != nil {
		return err
	}
	wanted, each := atMost(22), (after-before)*1024/idleStreams
	fmt.Printf("%d idle streams: %.1f KiB resident memory each (wanted: %v), %s; %.1f %% of a processor.\n\n",
		idleStreams, each, wanted, wanted.verdict(each), float64(later-cpu)/float64(watched)*100)
	return nil
}

// fanOut sends events to the streams of ten users, and waits for the last of
// them to have each.
func fanOut(s *server) error {
	const users = busyStreams / 100
	streams, err := openStreamsOf(s.address, busyStreams, users)
	if err != nil {
		return err
	}
	defer streams.close()
	var got atomic.Int64
	done := make(chan struct{}, 1)
	for _, c := range streams {
		go c.watch(func() {
			if got.Add(1) == busyStreams {
				got.Store(0)
				done <- struct{}{}
			}
		})
	}
	var all []time.Duration
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: users}}
	defer client.CloseIdleConnections()
	for range streamEvents {
		begin := time.Now()
		if err := notifyAll(client, s.address, users); err != nil {
			return err
		}
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			return fmt.Errorf("of %d streams %d got the event", busyStreams, got.Load())
		}
		all = append(all, time.Since(begin))
	}
	slices.Sort(all)
	wanted, p99 := atMost(250), all[len(all)*99/100].Seconds()*1e3
	fmt.Printf("A mail for each of %d users with %d streams: the last stream has it after %.1f ms at p50, %.1f ms at p99 (wanted: %v), %s.\n",
		users, busyStreams, all[len(all)/2].Seconds()*1e3, p99, wanted, wanted.verdict(p99))
	return nil
}

// notifyAll reports a mail for each user, all at once.
func notifyAll(client *http.Client, address string, users int) error {
	failures := make(chan error, users)
	for i := range users {
		go func() {
			body := fmt.Sprintf(`{"user":%q,"event":"messageNew","folder":"INBOX","imap-uidvalidity":1795452971,"imap-uid":%d,`+
				`"from":"Alice Example <alice@example.net>","subject":"Minutes of the meeting","snippet":"Hello","unseen":1}`, streamUser(i), streamUID.Add(1))
			r, err := http.NewRequest(http.MethodPut, "http://"+address+notifyPath, strings.NewReader(body))
			if err != nil {
				failures <- err
				return
			}
			r.SetBasicAuth(username, password)
			r.Header.Set("Content-Type", "application/json")
			resp, err := client.Do(r)
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					err = errors.New(resp.Status)
				}
			}
			failures <- err
		}()
	}
	var failed error
	for range users {
		failed = errors.Join(failed, <-failures)
	}
	return failed
}

// openStream is one connection with a stream on it.
type openStream struct {
	net.Conn
	lines *bufio.Reader
}

type openedStreams []*openStream

func (s openedStreams) close() {
	for _, c := range s {
		c.Close()
	}
}

// openStreams opens n streams of all users.
func openStreams(address string, n int) (openedStreams, error) {
	return openStreamsOf(address, n, streamUsers)
}

func openStreamsOf(address string, n, users int) (openedStreams, error) {
	all := make(openedStreams, n)
	numbers := make(chan int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range 32 {
		wg.Go(func() {
			for i := range numbers {
				c, err := dialStream(address, streamUser(i%users))
				mu.Lock()
				all[i], failed = c, errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
	if failed != nil {
		return nil, failed
	}
	return all, nil
}

// dialStream opens a stream the way a browser does, with as many headers.
func dialStream(address, user string) (*openStream, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+address+"/push/api/events", nil)
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(user, password)
	for name, value := range map[string]string{
		"Accept": "text/event-stream", "Accept-Language": "de,en-US;q=0.7,en;q=0.3", "Accept-Encoding": "gzip, deflate, br, zstd",
		"User-Agent":    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Cache-Control": "no-cache", "Pragma": "no-cache", "Referer": "http://" + address + "/push/",
		"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin",
		"Cookie": "__Host-dovecot-push-00112233=" + strings.Repeat("x", 120),
	} {
		r.Header.Set(name, value)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c := &openStream{conn, bufio.NewReaderSize(conn, 1<<10)}
	if err := r.Write(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	status, err := c.lines.ReadString('\n')
	if err == nil && !strings.Contains(status, " 200 ") {
		err = fmt.Errorf("a stream is answered with %q", status)
	}
	for err == nil { // up to the first position
		var line []byte
		if line, err = c.lines.ReadSlice('\n'); bytes.HasPrefix(line, []byte("id:")) {
			return c, nil
		}
	}
	return nil, errors.Join(err, conn.Close())
}

// watch calls seen for every event, until the connection ends.
func (c *openStream) watch(seen func()) {
	for {
		line, err := c.lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
		if bytes.HasPrefix(line, []byte("event: mail")) {
			seen()
		}
	}
}
