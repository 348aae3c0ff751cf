// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscriptions_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/signin"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/subscriptions"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/apns"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webpush"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/natsleak"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func TestMain(m *testing.M) { natsleak.VerifyTestMain(m) }

const alice, bob = "alice@example.com", "bob@example.com"

// api is a handler with everything around it.
type api struct {
	t       *testing.T
	handler http.Handler
	service *pushtest.Service
	apple   *pushtest.APNs
	store   *subscription.Store
	log     strings.Builder
	// defaults are the preferences of new devices.
	defaults subscription.Preferences

	mu     sync.Mutex
	ring   webpush.Ring
	events []subscriptions.Event
}

func newAPI(t *testing.T) *api { return newAPIWith(t, subscription.Preferences{}) }

func newAPIWith(t *testing.T, defaults subscription.Preferences) *api {
	t.Helper()
	q := queuetest.Open(t, queuetest.Config(t.TempDir()))
	a := &api{t: t, service: pushtest.Start(t), apple: pushtest.StartAPNs(t, "com.example.mail"), defaults: defaults}
	log := slog.New(slog.NewTextHandler(&a.log, nil))
	a.store = subscription.New(subscription.Config{Table: q.Table("subscriptions"), Logger: log, Defaults: a.defaults})
	a.store.Start()
	t.Cleanup(a.store.Stop)
	require.NoError(t, a.store.Wait(t.Context()))
	a.rotate()

	policy, err := outbound.NewPolicy(a.service.Origin)
	require.NoError(t, err)
	client := outbound.NewClient(outbound.Config{Policy: policy, RootCAs: a.service.RootCAs()})
	t.Cleanup(client.CloseIdleConnections)
	keys := func(context.Context) (webpush.Ring, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.ring, nil
	}
	a.handler = subscriptions.New(subscriptions.Config{
		Store: a.store, Logger: log,
		Senders: []device.Sender{a.apps(), &webpush.Devices{Policy: policy, MailContent: notification.Sender, Sender: webpush.NewSender(webpush.Config{Client: client, Contact: "mailto:postmaster@example.com", Keys: keys})}},
		Observe: func(e subscriptions.Event) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.events = append(a.events, e)
		},
	})
	return a
}

// apps sends to the apps of Apple's devices.
func (a *api) apps() device.Sender {
	key, id, err := a.apple.NewKey()
	require.NoError(a.t, err)
	provider, err := apns.NewProvider(key, id, a.apple.TeamID)
	require.NoError(a.t, err)
	policy, err := outbound.NewPolicy(a.apple.Origin)
	require.NoError(a.t, err)
	client := outbound.NewClient(outbound.Config{Policy: policy, RootCAs: a.apple.RootCAs(), HTTP2: true})
	a.t.Cleanup(client.CloseIdleConnections)
	return &apns.Devices{Client: client, Production: a.apple.Origin, Sandbox: a.apple.Origin, Provider: provider, Topics: []string{"com.example.mail"}, Sealed: true}
}

// rotate makes another VAPID key the newest.
func (a *api) rotate() {
	a.t.Helper()
	key, err := webpush.NewKey(time.Now())
	require.NoError(a.t, err)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ring = append(webpush.Ring{key}, a.ring...)
}

func (a *api) key() string { return a.ring[0].Public() }

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	// What the body says.
	sub
	Subscriptions []sub
	Defaults      subscription.Preferences
	Title         string
	Detail        string
	Field         string
}

type sub struct {
	ID, Name, DeviceClientID, EndpointHost string
	Kind, App, Environment                 string
	Confirmed                              bool
	Created, Expires                       time.Time
	LastDelivery                           *subscription.Delivery
	Preferences                            subscription.Preferences
	MaxContent                             notification.Content
}

// call sends a request of user, or of nobody if that is empty.
func (a *api) call(user, method, path, body string) answer {
	a.t.Helper()
	r := httptest.NewRequestWithContext(a.t.Context(), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return a.serve(user, r)
}

func (a *api) serve(user string, r *http.Request) answer {
	a.t.Helper()
	if user != "" {
		r = r.WithContext(signin.WithUser(r.Context(), user))
	}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	got := answer{status: w.Code, header: w.Header(), body: w.Body.String()}
	if got.body == "" {
		return got
	}
	require.NoError(a.t, json.Unmarshal(w.Body.Bytes(), &got), got.body)
	want := "application/json"
	if got.status >= 400 {
		want = "application/problem+json"
		assert.EqualValues(a.t, got.status, a.member(got.body, "status"))
		assert.NotEmpty(a.t, got.Title)
	}
	assert.Equal(a.t, want, got.header.Get("Content-Type"))
	assert.Equal(a.t, "no-store", got.header.Get("Cache-Control"))
	return got
}

func (a *api) member(body, name string) any {
	a.t.Helper()
	var all map[string]any
	require.NoError(a.t, json.Unmarshal([]byte(body), &all), body)
	return all[name]
}

// code is the newest that came to a device.
func (a *api) code(d *pushtest.Device) string {
	a.t.Helper()
	messages := d.Wait(1)
	payload := string(messages[len(messages)-1].Plain)
	require.Equal(a.t, "PushVerification", a.member(payload, "@type"))
	return a.member(payload, "verificationCode").(string)
}

// confirmed subscribes a new device of user and gives its code back.
func (a *api) confirmed(user string) (*pushtest.Device, string) {
	a.t.Helper()
	device := a.service.Subscribe(a.t, a.key())
	got := a.call(user, http.MethodPost, "/subscriptions", device.JSON(map[string]any{"name": "Phone"}))
	require.Equal(a.t, http.StatusCreated, got.status, got.body)
	done := a.call(user, http.MethodPatch, "/subscriptions/"+got.ID, `{"verificationCode":"`+a.code(device)+`"}`)
	require.Equal(a.t, http.StatusOK, done.status, done.body)
	return device, got.ID
}
