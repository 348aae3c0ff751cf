// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	home  = netip.MustParseAddr("192.0.2.1")
	other = netip.MustParseAddr("198.51.100.1")
)

// mailServer knows users by their passwords, and counts how often it is asked.
type mailServer struct {
	mu      sync.Mutex
	users   map[string]string
	asked   int
	now     int // checks under way
	most    int
	down    error
	holding chan struct{} // if not nil, checks wait until it is closed
	// mindsCase takes logins in no other spelling than the account has.
	mindsCase bool
}

func newMailServer() *mailServer {
	return &mailServer{users: map[string]string{"alice@example.com": "wonderland", "bob@example.com": "builder"}}
}

// spelled is a login as Dovecot treats it, which is in lower case by default.
func (m *mailServer) spelled(user string) string {
	if m.mindsCase {
		return user
	}
	return strings.ToLower(user)
}

func (m *mailServer) check(ctx context.Context, user, password string) error {
	m.mu.Lock()
	m.asked++
	m.now++
	m.most = max(m.most, m.now)
	right, down, holding := m.users[m.spelled(user)] == password, m.down, m.holding
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.now--
		m.mu.Unlock()
	}()
	if holding != nil {
		select {
		case <-holding:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	switch {
	case down != nil:
		return down
	case right:
		return nil
	default:
		return ErrWrong
	}
}

func (m *mailServer) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

// site is an authenticator with a page behind it that shows the user.
type site struct {
	*mailServer
	auth    *Authenticator
	cfg     Config
	revoked map[SessionID]time.Time
	keyErr  error
	from    netip.Addr
	results map[Result]int
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{
		mailServer: newMailServer(), from: home,
		revoked: make(map[SessionID]time.Time), results: make(map[Result]int),
	}
	var mu sync.Mutex
	s.cfg = Config{
		Check: s.check,
		Key: func(context.Context) ([]byte, error) {
			return []byte("0123456789abcdef0123456789abcdef"), s.keyErr
		},
		Revoked: func(_ context.Context, session Session) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			_, ok := s.revoked[session.ID]
			return ok, nil
		},
		Revoke: func(_ context.Context, session Session, until time.Time) error {
			mu.Lock()
			defer mu.Unlock()
			s.revoked[session.ID] = until
			return nil
		},
		Audience: "/push/",
		Source:   func(*http.Request) netip.Addr { return s.from },
		Observe: func(a Attempt) {
			mu.Lock()
			defer mu.Unlock()
			s.results[a.Result]++
		},
	}
	s.auth = New(s.cfg)
	return s
}

// request makes a request to /session, or with another path to the page behind
// the authenticator.
func (s *site) do(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	if r.URL.Path == "/session" {
		s.auth.Session().ServeHTTP(w, r)
		return w.Result()
	}
	s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, ok := User(r.Context())
		if !ok || !Validity(r.Context())() {
			panic("nobody is asking")
		}
		_, _ = w.Write([]byte(user))
	})).ServeHTTP(w, r)
	return w.Result()
}

func (s *site) signIn(user, password string) *http.Response {
	body, _ := json.Marshal(map[string]string{"username": user, "password": password})
	return s.do(httptest.NewRequest(http.MethodPost, "/session", bytes.NewReader(body)))
}

// whoami asks with a cookie, or without.
func (s *site) whoami(cookie *http.Cookie) (status int, user string, newCookie *http.Cookie) {
	r := httptest.NewRequest(http.MethodGet, "/who", nil)
	if cookie != nil {
		r.AddCookie(cookie)
	}
	resp := s.do(r)
	if cookies := resp.Cookies(); len(cookies) > 0 {
		newCookie = cookies[0]
	}
	return resp.StatusCode, text(resp), newCookie
}

func text(resp *http.Response) string {
	var b bytes.Buffer
	_, _ = b.ReadFrom(resp.Body)
	return b.String()
}

// cookieOf is the cookie of an answer.
func cookieOf(t *testing.T, resp *http.Response) *http.Cookie {
	t.Helper()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Len(t, resp.Cookies(), 1)
	return resp.Cookies()[0]
}
