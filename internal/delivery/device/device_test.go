// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package device

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

const alice = "alice@example.com"

// table has the devices of Alice, and nothing that changes.
type table struct {
	subscription.Table
	devices []subscription.Subscription
}

func (t *table) Watch(ctx context.Context, _ queue.Key, seen func(queue.Entry), current func()) error {
	value, err := json.Marshal(t.devices)
	if err != nil {
		return err
	}
	seen(queue.Entry{Key: queue.Key{alice}, Value: value, Revision: 1})
	current()
	<-ctx.Done()
	return ctx.Err()
}

// Get fails: nothing is written.
func (*table) Get(context.Context, queue.Key) (queue.Entry, error) {
	return queue.Entry{}, queue.ErrUnavailable
}

// sender keeps what is sent.
type sender struct {
	Sender
	content notification.Content
	sent    []notification.Mail
}

func (*sender) Kind() subscription.Kind { return subscription.WebPush }

func (s *sender) Content() notification.Content { return s.content }

func (s *sender) SendMail(_ context.Context, _ *subscription.Subscription, m notification.Mail) delivery.Result {
	s.sent = append(s.sent, m)
	return delivery.Result{Outcome: delivery.Delivered}
}

// newTarget delivers to devices with these preferences. Their IDs are letters.
func newTarget(t testing.TB, preferences ...subscription.Preferences) (*Target, *sender) {
	t.Helper()
	var devices []subscription.Subscription
	for i, p := range preferences {
		devices = append(devices, subscription.Subscription{
			ID: string(rune('A' + i)), Endpoint: "https://push.example.net/x", Expires: time.Now().Add(subscription.Lifetime), Preferences: p,
		})
	}
	store := subscription.New(subscription.Config{Table: &table{devices: devices}, Logger: slog.New(slog.DiscardHandler)})
	store.Start()
	t.Cleanup(store.Stop)
	require.NoError(t, store.Wait(t.Context()))
	s := &sender{content: notification.Sender}
	return &Target{Sender: s, Subscriptions: store, Decoder: &notification.Decoder{Events: notification.AllEvents}}, s
}

// newRecord is a mail to Alice.
func newRecord(folder, from string, event notification.Event) *queue.Record {
	body, _ := json.Marshal(map[string]any{
		"user": alice, "event": event, "folder": folder, "imap-uidvalidity": 1, "imap-uid": 7, "from": from, "subject": "Hello", "snippet": "Text",
	})
	return &queue.Record{Accepted: time.Now(), Body: body}
}

// silenced are the reasons by device.
func silenced(t *testing.T, target *Target, r *queue.Record) map[string]string {
	t.Helper()
	all, err := target.Destinations(t.Context(), r)
	require.NoError(t, err)
	reasons := make(map[string]string)
	for _, d := range all {
		reasons[d.Key] = d.Silenced
	}
	return reasons
}

func TestPreferencesDecide(t *testing.T) {
	target, _ := newTarget(t,
		subscription.Preferences{},
		subscription.Preferences{Folders: []string{"INBOX"}},
		subscription.Preferences{OnlyFrom: []string{"@example.net"}},
		subscription.Preferences{MutedUntil: subscription.Forever},
	)
	for _, c := range []struct {
		r    *queue.Record
		want map[string]string
	}{
		{newRecord("INBOX", "Bob <bob@example.net>", notification.MessageNew), map[string]string{"A": "", "B": "", "C": "", "D": "muted"}},
		{newRecord("INBOX", "=?utf-8?q?bob=40example=2Enet?= <eve@evil.test>", notification.MessageNew), map[string]string{"A": "", "B": "", "C": "sender", "D": "muted"}},
		{newRecord("Lists", "eve@evil.test", notification.MessageNew), map[string]string{"A": "", "B": "folder", "C": "sender", "D": "muted"}},
		{newRecord("Lists", "", notification.MessageRead), map[string]string{"A": "", "B": "folder", "C": "", "D": "muted"}},
		{newRecord("INBOX", "", notification.FlagsSet), map[string]string{}},
	} {
		assert.Equal(t, c.want, silenced(t, target, c.r))
	}
}

// A device is quiet in its own night, while another one gets the mail.
func TestQuietHoursPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which begins at midnight of 1 January 2000, UTC
		target, _ := newTarget(t,
			subscription.Preferences{QuietHours: &subscription.QuietHours{Start: "22:00", End: "07:00", TimeZone: "Europe/Berlin"}},
			subscription.Preferences{MutedUntil: subscription.MuteUntil(time.Now().Add(time.Hour))},
		)
		var got []map[string]string
		for range 3 { // at 1:00, 2:00 and 7:00 in Berlin
			got = append(got, silenced(t, target, newRecord("INBOX", "bob@example.net", notification.MessageNew)))
			time.Sleep(time.Duration(len(got)*len(got)) * time.Hour)
			if len(got) == 2 {
				time.Sleep(time.Hour)
			}
		}
		assert.Equal(t, []map[string]string{{"A": "quiet_hours", "B": "muted"}, {"A": "quiet_hours", "B": ""}, {"A": "", "B": ""}}, got)
	})
}

// A device gets what its user wants, and never more than the operator allows.
func TestContentOfADevice(t *testing.T) {
	target, sender := newTarget(t,
		subscription.Preferences{}, subscription.Preferences{Content: notification.Thin}, subscription.Preferences{Content: notification.Full},
	)
	deliver := func() (all [][3]string) {
		sender.sent = nil
		for _, id := range []string{"A", "B", "C"} {
			r := newRecord("INBOX", "bob@example.net", notification.MessageNew)
			r.Destination = id
			require.Equal(t, delivery.Delivered, target.Deliver(t.Context(), r).Outcome)
		}
		for _, m := range sender.sent {
			all = append(all, [3]string{m.From, m.Subject, m.Snippet})
		}
		return all
	}
	thin, withSender, full := [3]string{}, [3]string{"bob@example.net", "Hello", ""}, [3]string{"bob@example.net", "Hello", "Text"}
	assert.Equal(t, [][3]string{withSender, thin, withSender}, deliver())
	sender.content = notification.Thin
	assert.Equal(t, [][3]string{thin, thin, thin}, deliver())
	sender.content = notification.Full
	assert.Equal(t, [][3]string{full, thin, full}, deliver())
}

// manyUsers is a table with a device for each of many users.
type manyUsers struct {
	subscription.Table
	users   int
	devices []byte
}

func (m manyUsers) Watch(ctx context.Context, _ queue.Key, seen func(queue.Entry), current func()) error {
	for i := range m.users {
		seen(queue.Entry{Key: queue.Key{user(i)}, Value: m.devices, Revision: uint64(i + 1)})
	}
	current()
	<-ctx.Done()
	return ctx.Err()
}

func user(i int) string { return fmt.Sprintf("user%d@example.com", i) }

// A device gets what it may do with a mail, if something says so.
func TestActionsOfADevice(t *testing.T) {
	target, sender := newTarget(t, subscription.Preferences{})
	r := newRecord("INBOX", "bob@example.net", notification.MessageNew)
	r.Destination = "A"
	deliver := func() *notification.Actions {
		require.Equal(t, delivery.Delivered, target.Deliver(t.Context(), r).Outcome)
		return sender.sent[len(sender.sent)-1].Actions
	}
	assert.Nil(t, deliver())
	target.Actions = func(_ context.Context, user string, d *subscription.Subscription, m *notification.Mail) *notification.Actions {
		return &notification.Actions{User: user, Device: d.ID, Expires: int64(m.UID)}
	}
	assert.Equal(t, &notification.Actions{User: alice, Device: "A", Expires: 7}, deliver())
}

// What the preferences of 100,000 devices cost of a notification each: see bench for
// the whole of it. Those of many are as long as they may be.
func BenchmarkDestinations(b *testing.B) {
	const users = 100_000
	usual := subscription.Preferences{
		Folders:    []string{"Work", "INBOX"},
		QuietHours: &subscription.QuietHours{Start: "00:00", End: "00:01", Days: []subscription.Day{"su"}, TimeZone: "Europe/Berlin"},
		NotFrom:    []string{"newsletter@example.org", "@lists.example.org", "@shop.example.com"},
	}
	long, quiet := usual, usual
	for i := range subscription.MaxSenders - len(usual.NotFrom) {
		long.NotFrom = append(long.NotFrom, fmt.Sprintf("sender-%d@lists.example.org", i))
	}
	quiet.MutedUntil = subscription.Forever
	records := make([]*queue.Record, users)
	for i := range records {
		records[i] = newRecord("INBOX", "Bob <bob@example.net>", notification.MessageNew)
		records[i].Body = bytes.Replace(records[i].Body, []byte(alice), []byte(user(i)), 1)
	}
	for _, c := range []struct {
		name     string
		p        subscription.Preferences
		users    int
		silenced string
	}{
		{"without", subscription.Preferences{}, users, ""}, {"usual", usual, users, ""}, {"long", long, users / 10, ""}, {"muted", quiet, users, "muted"},
	} {
		b.Run(c.name, func(b *testing.B) {
			value, err := json.Marshal([]subscription.Subscription{{
				ID: "A", Endpoint: "https://push.example.net/x", Expires: time.Now().Add(subscription.Lifetime), Preferences: c.p,
			}})
			require.NoError(b, err)
			store := subscription.New(subscription.Config{Table: manyUsers{users: c.users, devices: value}, Logger: slog.New(slog.DiscardHandler)})
			store.Start()
			b.Cleanup(store.Stop)
			require.NoError(b, store.Wait(b.Context()))
			target := &Target{Sender: &sender{content: notification.Sender}, Subscriptions: store, Decoder: &notification.Decoder{Events: notification.AllEvents}}
			runtime.GC() // of what it took to read them
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 7919) % c.users // not those that are side by side
				all, err := target.Destinations(b.Context(), records[i])
				if err != nil || len(all) != 1 || all[0].Silenced != c.silenced {
					b.Fatal(all, err)
				}
			}
		})
	}
}
