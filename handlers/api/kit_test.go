// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/actions"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/events"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/page"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/signin"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/subscriptions"
	"github.com/dovecotpush/caddy-dovecot-push/internal/action"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webpush"
	"github.com/dovecotpush/caddy-dovecot-push/internal/eventlog"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/natsleak"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func TestMain(m *testing.M) { natsleak.VerifyTestMain(m) }

const (
	alice = "alice@example.com"
	bob   = "bob@example.com"
)

var passwords = map[string]string{alice: "wonderland", bob: "builder"}

// site is a whole API on real parts, below /push.
type site struct {
	*httptest.Server
	service *pushtest.Service
	dovecot *doveadmtest.Server
	actions *action.Actions
	store   *subscription.Store
	log     *eventlog.Log
	streams *events.Handler
	ring    webpush.Ring

	mu      sync.Mutex
	revoked map[signin.SessionID]bool
	from    netip.Addr
	broken  error // of the stores that the authenticator asks
}

// newSite starts a site. change, if not nil, changes what it is made of.
func newSite(t *testing.T, change func(*site, *Config, *signin.Config)) *site {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	q := queuetest.Open(t, queuetest.Config(t.TempDir()))
	s := &site{service: pushtest.Start(t), revoked: make(map[signin.SessionID]bool), from: netip.MustParseAddr("192.0.2.1")}
	s.store = subscription.New(subscription.Config{Table: q.Table("subscriptions"), Logger: log})
	s.store.Start()
	t.Cleanup(s.store.Stop)
	require.NoError(t, s.store.Wait(t.Context()))
	s.log = eventlog.Open(eventlog.Config{Queue: q, Logger: log})
	t.Cleanup(s.log.Close)
	key, err := webpush.NewKey(time.Now())
	require.NoError(t, err)
	s.ring = webpush.Ring{key}
	policy, err := outbound.NewPolicy(s.service.Origin)
	require.NoError(t, err)
	client := outbound.NewClient(outbound.Config{Policy: policy, RootCAs: s.service.RootCAs()})
	t.Cleanup(client.CloseIdleConnections)
	keys := func(context.Context) (webpush.Ring, error) { return s.ring, nil }

	// There is no mailbox Trash.
	s.dovecot = doveadmtest.Start(t, doveadmtest.Config{Users: []string{alice}})
	s.dovecot.AddMailbox(alice, "Archive")
	s.actions = action.New(action.Config{
		Key: s.key, Mailboxes: action.NewDoveAdm(s.dovecot.Client(t)), Used: q.Table("actions"), Devices: s.store,
		Offer: action.Offered, ArchiveMailbox: "Archive", TrashMailbox: "Trash",
	})
	s.streams = events.New(events.Config{Open: s.log.Open})
	t.Cleanup(s.streams.Stop)
	auth := signin.Config{Check: check, Key: s.key, Revoked: s.isRevoked, Revoke: s.revoke, Audience: "/push", Source: s.source}
	cfg := Config{
		Login: "imap", WebmailURL: "https://mail.example.com/", MailURL: "https://mail.example.com/#{folder}/{uid}", Kinds: []string{"webpush"},
		ApplicationServerKey: func(context.Context) (string, error) { return s.ring[0].Public(), nil },
		Subscriptions: subscriptions.New(subscriptions.Config{
			Store: s.store, Logger: log,
			Senders: []device.Sender{&webpush.Devices{Policy: policy, MailContent: notification.Sender, Sender: webpush.NewSender(webpush.Config{Client: client, Contact: "mailto:postmaster@example.com", Keys: keys})}},
		}),
		Actions: actions.New(actions.Config{
			Desk: func(context.Context) (actions.Desk, error) { return s.actions, nil }, Source: s.source, Logger: log,
		}),
		Events: s.streams,
		Page:   page.New(page.Options{}),
	}
	if change != nil {
		change(s, &cfg, &auth)
	}
	cfg.Authenticator = signin.New(auth)
	s.Server = httptest.NewTLSServer(http.StripPrefix("/push", New(cfg)))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func check(_ context.Context, user, password string) error {
	if passwords[strings.ToLower(user)] != password { // as with Dovecot's defaults, capitals do not matter
		return signin.ErrWrong
	}
	return nil
}

func (s *site) key(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Repeat([]byte("k"), 32), s.broken
}

func (s *site) isRevoked(_ context.Context, session signin.Session) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revoked[session.ID], nil
}

func (s *site) revoke(_ context.Context, session signin.Session, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked[session.ID] = true
	return nil
}

func (s *site) source(*http.Request) netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from
}

func (s *site) breakStores() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = errors.New("the storage is away")
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	cookie *http.Cookie
}

// member returns a member of the answer's JSON.
func (a answer) member(t *testing.T, name string) any {
	t.Helper()
	var all map[string]any
	require.NoError(t, json.Unmarshal(a.body, &all), string(a.body))
	return all[name]
}

// do sends a request. what are headers, cookies and bodies.
func (s *site) do(t *testing.T, method, path string, what ...any) (*http.Request, answer) {
	t.Helper()
	r := s.request(t, method, path, what...)
	resp, err := s.Client().Transport.RoundTrip(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	a := answer{status: resp.StatusCode, header: resp.Header, body: body}
	if cookies := resp.Cookies(); len(cookies) == 1 {
		a.cookie = cookies[0]
	}
	return r, a
}

// header is one of a request.
type header struct{ name, value string }

// login is HTTP Basic.
type login struct{ user, password string }

func (s *site) request(t *testing.T, method, path string, what ...any) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/push"+path, nil)
	require.NoError(t, err)
	for _, w := range what {
		switch w := w.(type) {
		case header:
			r.Header.Set(w.name, w.value)
		case login:
			r.SetBasicAuth(w.user, w.password)
		case *http.Cookie:
			r.AddCookie(w)
		case string:
			r.Body = io.NopCloser(strings.NewReader(w))
			r.ContentLength = int64(len(w))
			if r.Header.Get("Content-Type") == "" {
				r.Header.Set("Content-Type", "application/json")
			}
		default:
			t.Fatalf("%T", w)
		}
	}
	return r
}

// signIn returns the cookie of a new session.
func (s *site) signIn(t *testing.T, user string) *http.Cookie {
	t.Helper()
	_, a := s.do(t, http.MethodPost, "/api/session", `{"username":"`+user+`","password":"`+passwords[user]+`"}`)
	require.Equal(t, http.StatusOK, a.status, string(a.body))
	require.NotNil(t, a.cookie)
	return a.cookie
}
