// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/natsleak"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func TestMain(m *testing.M) { natsleak.VerifyTestMain(m) }

const (
	contact = "mailto:postmaster@example.com"
	alice   = "alice@example.com"
)

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	require.NoError(t, err)
	return b
}

// newDevice returns the keys of one that nobody has.
func newDevice(t testing.TB) (public, auth []byte) {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	auth = make([]byte, 16)
	_, _ = rand.Read(auth)
	return key.PublicKey().Bytes(), auth
}

func newTestKey(t testing.TB) *Key {
	t.Helper()
	key, err := NewKey(time.Now())
	require.NoError(t, err)
	return key
}

// newTestSender returns a sender that may talk to the push service.
func newTestSender(t testing.TB, service *pushtest.Service, ring ...*Key) *Sender {
	t.Helper()
	policy, err := outbound.NewPolicy(service.Origin)
	require.NoError(t, err)
	client := outbound.NewClient(outbound.Config{Policy: policy, RootCAs: service.RootCAs()})
	t.Cleanup(client.CloseIdleConnections)
	return NewSender(Config{
		Client: client, Contact: contact,
		Keys: func(context.Context) (Ring, error) { return ring, nil },
	})
}

func address(t testing.TB, d *pushtest.Device, key *Key) subscription.Address {
	t.Helper()
	return subscription.Address{
		Endpoint: d.Endpoint, ServerKey: key.Public(),
		Keys: subscription.Keys{P256DH: unbase64(t, d.P256DH), Auth: unbase64(t, d.Auth)},
	}
}

func subscriptionOf(t testing.TB, d *pushtest.Device, key *Key) *subscription.Subscription {
	t.Helper()
	a := address(t, d, key)
	return &subscription.Subscription{ID: "1", Endpoint: a.Endpoint, Keys: a.Keys, ServerKey: a.ServerKey}
}

// world is a target with everything around it.
type world struct {
	*device.Target
	devices *Devices
	service *pushtest.Service
	key     *Key
	changed []string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	q := queuetest.Open(t, queuetest.Config(t.TempDir()))
	w := &world{service: pushtest.Start(t), key: newTestKey(t)}
	store := subscription.New(subscription.Config{
		Table: q.Table("subscriptions"), Logger: slog.New(slog.DiscardHandler),
		Changed: func(user string, anyDevice bool) { w.changed = append(w.changed, fmt.Sprint(user, " ", anyDevice)) },
	})
	store.Start()
	t.Cleanup(store.Stop)
	w.devices = &Devices{Sender: newTestSender(t, w.service, w.key), MailContent: notification.Sender, TTL: 24 * time.Hour}
	w.Target = &device.Target{Sender: w.devices, Subscriptions: store, Decoder: &notification.Decoder{Events: notification.AllEvents}}
	require.NoError(t, store.Wait(t.Context()))
	return w
}

// device adds a confirmed device of Alice.
func (w *world) device(t testing.TB, name string) (*pushtest.Device, subscription.Subscription) {
	t.Helper()
	device := w.service.Subscribe(t, w.key.Public())
	added, _, err := w.Subscriptions.Add(t.Context(), alice, subscription.Device{Name: name, Address: address(t, device, w.key)})
	require.NoError(t, err)
	added, err = w.Subscriptions.Confirm(t.Context(), alice, added.ID, added.VerificationCode)
	require.NoError(t, err)
	return device, added
}

// record is a notification as Dovecot reports it.
func record(t testing.TB, destination string, members map[string]any) *queue.Record {
	t.Helper()
	body := map[string]any{
		"user": alice, "event": "messageNew", "folder": "INBOX", "imap-uidvalidity": 1, "imap-uid": 7,
		"from": "Bob <bob@example.net>", "subject": "Hello", "snippet": "How are you?", "unseen": 3,
	}
	maps.Copy(body, members)
	text, err := json.Marshal(body)
	require.NoError(t, err)
	accepted := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &queue.Record{ID: notification.Identity{0xab}, Accepted: accepted, Body: text, Destination: destination}
}
