// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package device

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
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

// What the preferences of a device cost of a notification: see bench for the whole
// of it.
func BenchmarkDestinations(b *testing.B) {
	many := subscription.Preferences{
		Folders:    []string{"Work", "INBOX"},
		QuietHours: &subscription.QuietHours{Start: "00:00", End: "00:01", Days: []subscription.Day{"su"}, TimeZone: "Europe/Berlin"},
	}
	for i := range subscription.MaxSenders {
		many.NotFrom = append(many.NotFrom, fmt.Sprintf("sender-%d@lists.example.org", i))
	}
	for name, p := range map[string]subscription.Preferences{"without": {}, "with": many} {
		b.Run(name, func(b *testing.B) {
			target, _ := newTarget(b, p)
			r := newRecord("INBOX", "Bob <bob@example.net>", notification.MessageNew)
			b.ReportAllocs()
			for b.Loop() {
				all, err := target.Destinations(b.Context(), r)
				if err != nil || len(all) != 1 || all[0].Silenced != "" {
					b.Fatal(all, err)
				}
			}
		})
	}
}
