// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/signin"
	"github.com/dovecotpush/caddy-dovecot-push/internal/eventlog"
)

const (
	alice = "alice@example.com"
	bob   = "bob@example.com"
)

func TestStream(t *testing.T) {
	eachProtocol(t, func(t *testing.T, configure func(*httptest.Server)) {
		s := newSite(t, nil, configure)
		c, other := s.connect(t, alice, ""), s.connect(t, bob, "")
		require.Equal(t, "no-store, no-transform", c.resp.Header.Get("Cache-Control"))
		start := c.position()
		retry, err := strconv.Atoi(c.retry)
		require.NoError(t, err)
		require.InDelta(t, retryAfter.Milliseconds(), retry, float64(retryAfter.Milliseconds()/2))
		for i := range 10 {
			s.offer(t, alice, i, fmt.Sprint(i))
		}
		s.offer(t, bob, 100, "for bob")
		require.Equal(t, c.want(10), texts(0, 10))
		require.Equal(t, []string{"for bob"}, other.want(1))
		last := c.position()
		c.hangUp()
		require.Eventually(t, func() bool { return s.endings(Client) == 1 }, patience, time.Millisecond)
		s.offer(t, alice, 10, "10")

		c = s.connect(t, alice, last)
		require.Equal(t, c.want(1), texts(10, 11))
		c.hangUp()
		c = s.connect(t, alice, start)
		require.Equal(t, c.want(11), texts(0, 11))
		c.hangUp()
		other.hangUp()
		require.Eventually(t, func() bool { return s.endings(Client) == 4 }, patience, time.Millisecond)
		require.Equal(t, 4, s.opened)
		require.Equal(t, 23, s.sent)
	})
}

func TestReset(t *testing.T) {
	s := newSite(t, nil, nil)
	c := s.connect(t, alice, "of another time")
	m, ok := c.next()
	require.True(t, ok)
	require.Equal(t, "reset", m.event)
	require.JSONEq(t, `{"@type":"Reset"}`, m.data)
	require.NotEqual(t, "of another time", m.id)
	last := c.position()
	c.hangUp()
	s.offer(t, alice, 1, "1")
	c = s.connect(t, alice, last)
	require.Equal(t, []string{"1"}, c.want(1))
	c.hangUp()

	// A page that makes a new EventSource sends the position in the URL. The
	// header is more recent.
	for header, want := range map[string]string{"": "mail", "of another time": "reset"} {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"?last-event-id="+last, nil)
		require.NoError(t, err)
		r.Header.Set("X-Test-User", alice)
		if header != "" {
			r.Header.Set("Last-Event-ID", header)
		}
		c = s.send(t, r, cancel)
		m, ok = c.next()
		require.True(t, ok)
		require.Equal(t, want, m.event)
		c.hangUp()
	}
}

// A stream from the beginning has the history, and says where it ends.
func TestBeginning(t *testing.T) {
	eachProtocol(t, func(t *testing.T, configure func(*httptest.Server)) {
		s := newSite(t, nil, configure)
		c := s.connect(t, alice, "")
		for i := range 3 {
			s.offer(t, alice, i, fmt.Sprint(i))
		}
		require.Equal(t, c.want(3), texts(0, 3))
		c.hangUp()

		c = s.connect(t, alice, "0")
		require.Equal(t, c.want(3), texts(0, 3))
		m, ok := c.next()
		require.True(t, ok)
		require.Equal(t, "current", m.event)
		require.JSONEq(t, `{"@type":"Current"}`, m.data)
		s.offer(t, alice, 3, "3")
		require.Equal(t, c.want(1), texts(3, 4))
		c.hangUp()

		c = s.connect(t, alice, m.id)
		require.Equal(t, c.want(1), texts(3, 4), "it goes on from there")
		c.hangUp()
	})
}

// An idle stream sends heartbeats, with its position.
func TestHeartbeat(t *testing.T) {
	eachProtocol(t, func(t *testing.T, configure func(*httptest.Server)) {
		s := newSite(t, func(timing *timing) {
			timing.heartbeat = 10 * time.Millisecond
			timing.write = time.Second // which must not end what is silent
		}, configure)
		c := s.connect(t, alice, "")
		seen := make(map[string]bool)
		for begin := time.Now(); time.Since(begin) < 1200*time.Millisecond; {
			seen[c.position()] = true
		}
		require.Greater(t, len(seen), 1, "each has its time")
		s.offer(t, alice, 1, "1")
		require.Equal(t, []string{"1"}, c.want(1))
		c.hangUp()
	})
}

func TestSilenceOutlastsWriteDeadline(t *testing.T) {
	eachProtocol(t, func(t *testing.T, configure func(*httptest.Server)) {
		s := newSite(t, func(timing *timing) { timing.write = time.Second }, configure)
		c := s.connect(t, alice, "")
		time.Sleep(1200 * time.Millisecond)
		s.offer(t, alice, 1, "1")
		require.Equal(t, []string{"1"}, c.want(1))
		c.hangUp()
	})
}

func TestStopping(t *testing.T) {
	eachProtocol(t, func(t *testing.T, configure func(*httptest.Server)) {
		s := newSite(t, nil, configure)
		var all []*source
		for range 20 {
			all = append(all, s.connect(t, alice, ""))
		}
		s.handler.Stop()
		for _, c := range all {
			_, ok := c.next()
			require.False(t, ok)
			require.NoError(t, c.lines.Err(), "ended as it should")
		}
		require.Equal(t, 20, s.endings(Stopping))
		s.handler.Stop() // again

		// A client that connects while it stops is asked to reconnect.
		c := s.connect(t, alice, "")
		_, ok := c.next()
		require.False(t, ok)
		require.NoError(t, c.lines.Err())
		require.NotEmpty(t, c.retry)
		require.NotEmpty(t, c.lastID)
		require.Equal(t, 21, s.endings(Stopping))
	})
}

func TestLifetime(t *testing.T) {
	s := newSite(t, func(timing *timing) { timing.heartbeat, timing.lifetime = time.Millisecond, 50*time.Millisecond }, nil)
	c := s.connect(t, alice, "")
	_, ok := c.next()
	require.False(t, ok)
	require.NoError(t, c.lines.Err())
	require.Equal(t, 1, s.endings(Lifetime))
}

func TestSignedOutMeanwhile(t *testing.T) {
	s := newSite(t, func(timing *timing) { timing.heartbeat = time.Millisecond }, nil)
	valid := make(chan struct{})
	auth := signin.New(signin.Config{
		Check: func(context.Context, string, string) error { return nil },
		Key:   func(context.Context) ([]byte, error) { return make([]byte, 32), nil },
		Revoked: func(context.Context, signin.Session) (bool, error) {
			select {
			case <-valid:
				return true, nil
			default:
				return false, nil
			}
		},
		Source: func(*http.Request) netip.Addr { return netip.Addr{} },
	})
	site := httptest.NewServer(auth.Require(s.handler))
	defer site.Close()
	signIn := httptest.NewRecorder()
	auth.Session().ServeHTTP(signIn, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"username":"a","password":"b"}`)))
	r, err := http.NewRequest(http.MethodGet, site.URL, nil)
	require.NoError(t, err)
	r.AddCookie(signIn.Result().Cookies()[0])
	resp, err := site.Client().Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	c := &source{t: t, resp: resp, lines: bufio.NewScanner(resp.Body)}
	c.position()
	close(valid)
	_, ok := c.next()
	require.False(t, ok)
	require.Equal(t, 1, s.endings(SignedOut))
}

// A client that does not read is disconnected, and misses nothing if it
// reconnects while its events are kept.
func TestSlowClient(t *testing.T) {
	s := newSite(t, func(timing *timing) { timing.write = 3 * time.Second }, func(s *httptest.Server) {
		s.Listener = narrow{s.Listener}
	})
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4<<10))
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Test-User: %s\r\n\r\n", alice)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.opened == 1
	}, patience, time.Millisecond)
	fast := s.connect(t, alice, "")
	first := fast.position()
	data := strings.Repeat("x", 64<<10)
	events := 0
	for ; s.endings(Slow) == 0 && events < 200; events++ { // 256 are kept
		s.offer(t, alice, events, data)
		fast.want(1)
	}
	require.Eventually(t, func() bool { return s.endings(Slow) == 1 }, patience, time.Millisecond)
	fast.hangUp()
	c := s.connect(t, alice, first)
	c.want(events)
	c.hangUp()
}

func TestTooManyStreams(t *testing.T) {
	s := newSite(t, nil, nil)
	var all []*source
	for range eventlog.MaxStreams {
		all = append(all, s.connect(t, alice, ""))
	}
	get := func() *http.Response {
		r, err := http.NewRequest(http.MethodGet, s.URL, nil)
		require.NoError(t, err)
		r.Header.Set("X-Test-User", alice)
		resp, err := s.Client().Do(r)
		require.NoError(t, err)
		resp.Body.Close()
		return resp
	}
	resp := get()
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	require.Equal(t, "5", resp.Header.Get("Retry-After"))
	for _, c := range all {
		c.hangUp()
	}
	require.Eventually(t, func() bool { return get().StatusCode == http.StatusOK }, patience, 10*time.Millisecond)
}

func TestNotNow(t *testing.T) {
	h := New(Config{Open: func(ctx context.Context, _, _ string, _ func()) (*eventlog.Stream, eventlog.Start, error) {
		_, bounded := ctx.Deadline()
		require.True(t, bounded)
		return nil, eventlog.Now, errors.New("the store is away")
	}})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusUnauthorized, w.Code)

	r = r.WithContext(signin.WithUser(r.Context(), alice))
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "5", w.Header().Get("Retry-After"))
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))

	r.Method = http.MethodHead
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
}
