// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/signin"
	"github.com/dovecotpush/caddy-dovecot-push/internal/eventlog"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/natsleak"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

func TestMain(m *testing.M) { natsleak.VerifyTestMain(m) }

const patience = time.Minute

// site is a server with the streams of a real log.
type site struct {
	*httptest.Server
	log     *eventlog.Log
	handler *Handler

	mu     sync.Mutex
	ended  map[End]int
	opened int
	sent   int
}

func newSite(t *testing.T, adjust func(*timing), configure func(*httptest.Server)) *site {
	t.Helper()
	q := queuetest.Open(t, queuetest.Config(t.TempDir()))
	release, err := q.Use(t.Context(), nil)
	require.NoError(t, err)
	s := &site{log: eventlog.Open(eventlog.Config{Queue: q, Logger: slog.New(slog.DiscardHandler)}), ended: make(map[End]int)}
	s.handler = New(Config{Open: s.log.Open, Observe: Observer{
		Opened: func() { s.count(func() { s.opened++ }) },
		Ended:  func(e End) { s.count(func() { s.ended[e]++ }) },
		Sent:   func(n int) { s.count(func() { s.sent += n }) },
	}})
	if adjust != nil {
		adjust(&s.handler.timing)
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user := r.Header.Get("X-Test-User"); user != "" {
			r = r.WithContext(signin.WithUser(r.Context(), user))
		}
		s.handler.ServeHTTP(w, r)
	}))
	if configure != nil {
		configure(s.Server)
	}
	if s.EnableHTTP2 {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.handler.Stop()
		s.CloseClientConnections()
		s.Close()
		s.log.Close()
		release()
		require.NoError(t, q.Close())
	})
	return s
}

func (s *site) count(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *site) endings(e End) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended[e]
}

func (s *site) offer(t *testing.T, user string, number int, data string) {
	t.Helper()
	var id notification.Identity
	binary.BigEndian.PutUint64(id[:], uint64(number))
	require.NoError(t, s.log.Offer(t.Context(), user, id, func() (string, []byte) { return "mail", []byte(data) }))
}

// source is a client, written after the standard (WHATWG HTML, 9.2.6).
type source struct {
	t      *testing.T
	lastID string
	retry  string
	resp   *http.Response
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

type message struct{ event, data, id string }

func (s *site) connect(t *testing.T, user, lastID string) *source {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	require.NoError(t, err)
	r.Header.Set("X-Test-User", user)
	r.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	return s.send(t, r, cancel)
}

func (s *site) send(t *testing.T, r *http.Request, cancel context.CancelFunc) *source {
	t.Helper()
	resp, err := s.Client().Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return &source{t: t, lastID: r.Header.Get("Last-Event-ID"), resp: resp, lines: lines, cancel: cancel}
}

// next reads up to the next message; ok is false at the end of the stream.
func (s *source) next() (m message, ok bool) {
	for {
		m, block, more := s.block()
		if !more {
			return message{}, false
		}
		if block != "" && m.data != "" {
			return m, true
		}
	}
}

// block reads one block, of which not all are messages.
func (s *source) block() (m message, raw string, more bool) {
	m.event = "message"
	for s.lines.Scan() {
		line := s.lines.Text()
		if line == "" {
			m.id = s.lastID
			return m, raw, true
		}
		raw += line + "\n"
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			m.event = value
		case "data":
			m.data += value
		case "id":
			s.lastID = value
		case "retry":
			s.retry = value
		}
	}
	return m, raw, false
}

func (s *source) want(n int) []string {
	s.t.Helper()
	var got []string
	for range n {
		m, ok := s.next()
		require.True(s.t, ok, "the stream ended")
		require.Equal(s.t, "mail", m.event)
		got = append(got, m.data)
	}
	return got
}

// position reads until the server has sent a position.
func (s *source) position() string {
	s.t.Helper()
	for {
		_, raw, more := s.block()
		require.True(s.t, more)
		if strings.HasPrefix(raw, ":") {
			return s.lastID
		}
	}
}

func (s *source) hangUp() {
	s.cancel()
	s.resp.Body.Close()
}

func eachProtocol(t *testing.T, test func(t *testing.T, configure func(*httptest.Server))) {
	t.Run("HTTP/1.1", func(t *testing.T) { test(t, nil) })
	t.Run("HTTP/2", func(t *testing.T) {
		test(t, func(s *httptest.Server) { s.EnableHTTP2 = true })
	})
}

// narrow makes the server's side of each connection block soon.
type narrow struct{ net.Listener }

func (n narrow) Accept() (net.Conn, error) {
	conn, err := n.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return conn, err
}

func texts(from, to int) []string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}
