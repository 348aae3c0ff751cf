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
	err = idle(s, "idle streams, HTTP/1.1", func(n int) (io.Closer, error) { return openStreams(s.dial, s.address, n) })
	if err != nil {
		return err
	}
	if err := fanOut(s); err != nil {
		return err
	}
	b.stop(s)
	return b.streamsOverTLS(internalTLS(caddyfile))
}

// streamsOverTLS tells apart what a stream and what its connection takes.
func (b *bench) streamsOverTLS(caddyfile string) error {
	for _, c := range []struct {
		name string
		open func(s *site, n int) (io.Closer, error)
	}{
		{"idle streams, HTTP/1.1 with TLS", func(s *site, n int) (io.Closer, error) {
			return openStreams(s.dial, s.address, n)
		}},
		{"idle streams, HTTP/2, each on a connection of its own", func(s *site, n int) (io.Closer, error) {
			return s.open(n, 1)
		}},
		{"idle streams, HTTP/2, a hundred on a connection", func(s *site, n int) (io.Closer, error) {
			return s.open(n/100, 100)
		}},
		{"connections of HTTP/2 without a stream", func(s *site, n int) (io.Closer, error) {
			return s.open(n, 0)
		}},
	} {
		s, err := b.caddy(b.binary, caddyfile)
		if err != nil {
			return err
		}
		site, err := s.site()
		if err != nil {
			return err
		}
		err = idle(s, c.name, func(n int) (io.Closer, error) { return c.open(site, n) })
		if err != nil {
			return err
		}
		b.stop(s)
	}
	return nil
}

// idle opens many streams where nothing happens.
func idle(s *server, name string, open func(n int) (io.Closer, error)) error {
	warm, err := open(streamUsers)
	if err != nil {
		return err
	}
	warm.Close()
	time.Sleep(5 * time.Second)
	before, err := residentMemory(s.PID())
	if err != nil {
		return err
	}
	streams, err := open(idleStreams)
	if err != nil {
		return err
	}
	defer streams.Close()
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
	fmt.Printf("%d %s: %.1f KiB resident memory each (wanted: %v), %s; %.1f %% of a processor.\n\n",
		idleStreams, name, each, wanted, wanted.verdict(each), float64(later-cpu)/float64(watched)*100)
	return nil
}

// fanOut sends events to the streams of ten users, and waits for the last of
// them to have each.
func fanOut(s *server) error {
	const users = busyStreams / 100
	streams, err := openMany(busyStreams, func(i int) (net.Conn, error) { return dialStream(s.dial, s.address, streamUser(i%users)) })
	if err != nil {
		return err
	}
	defer streams.Close()
	var got atomic.Int64
	done := make(chan struct{}, 1)
	for _, c := range streams {
		go c.(*openStream).watch(func() {
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
			failures <- report(client, address, body)
		}()
	}
	var failed error
	for range users {
		failed = errors.Join(failed, <-failures)
	}
	return failed
}

// report reports a mail.
func report(client *http.Client, address, body string) error {
	r, err := http.NewRequest(http.MethodPut, "http://"+address+notifyPath, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.SetBasicAuth(username, password)
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// openStream is one connection with a stream on it.
type openStream struct {
	net.Conn
	lines *bufio.Reader
}

type openedStreams []net.Conn

// Close ends them all.
func (s openedStreams) Close() error {
	for _, c := range s {
		c.Close()
	}
	return nil
}

// openStreams opens n streams over HTTP/1.1, of all users.
func openStreams(dial func() (net.Conn, error), address string, n int) (openedStreams, error) {
	return openMany(n, func(i int) (net.Conn, error) { return dialStream(dial, address, streamUser(i)) })
}

func (s *server) dial() (net.Conn, error) { return net.Dial("tcp", s.address) }

// openMany opens n connections, some at once.
func openMany(n int, dial func(i int) (net.Conn, error)) (openedStreams, error) {
	all := make(openedStreams, n)
	numbers := make(chan int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range 32 {
		wg.Go(func() {
			for i := range numbers {
				c, err := dial(i)
				mu.Lock()
				all[i] = c
				if failed == nil {
					failed = err
				}
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

const streamPath = "/push/api/events"

// browserHeaders are as many as a browser sends.
func browserHeaders(authority string) map[string]string {
	return map[string]string{
		"Accept": "text/event-stream", "Accept-Language": "de,en-US;q=0.7,en;q=0.3", "Accept-Encoding": "gzip, deflate, br, zstd",
		"User-Agent":    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Cache-Control": "no-cache", "Pragma": "no-cache", "Referer": "http://" + authority + "/push/",
		"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin",
		"Cookie": "__Host-dovecot-push-00112233=" + strings.Repeat("x", 120),
	}
}

// dialStream opens a stream the way a browser does, with as many headers.
func dialStream(dial func() (net.Conn, error), address, user string) (*openStream, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+address+streamPath, nil)
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(user, password)
	for name, value := range browserHeaders(address) {
		r.Header.Set(name, value)
	}
	conn, err := dial()
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
