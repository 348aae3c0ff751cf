// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package device

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription/subscriptiontest"
)

// summarizing keeps the summaries that are sent.
type summarizing struct {
	sender
	mu        sync.Mutex
	outcome   delivery.Outcome
	unseen    func(user string) (uint32, error) // what the mail server says
	summaries []notification.Summary
}

// become changes what it does.
func (s *summarizing) become(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *summarizing) Content() notification.Content {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.content
}

func (s *summarizing) SendSummary(_ context.Context, _ *subscription.Subscription, m notification.Summary) delivery.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.summaries = append(s.summaries, m)
	return delivery.Result{Outcome: s.outcome}
}

// instance is a process with what delivers to the devices of a table.
type instance struct {
	*Target
	sent      *summarizing
	summaries *Summaries
	parked    []queue.Record
}

// startInstance starts one. What it parks is attempted at once.
func startInstance(t *testing.T, table subscription.Table) *instance {
	t.Helper()
	store := subscription.New(subscription.Config{Table: table, Logger: slog.New(slog.DiscardHandler)})
	store.Start()
	t.Cleanup(store.Stop)
	require.NoError(t, store.Wait(t.Context()))
	in := &instance{sent: &summarizing{
		outcome: delivery.Delivered, unseen: func(string) (uint32, error) { return 0, errors.New("the mail server is away") },
	}}
	in.sent.content = notification.Sender
	in.Target = &Target{Sender: in.sent, Subscriptions: store, Decoder: &notification.Decoder{Events: notification.AllEvents}}
	in.summaries = &Summaries{
		Subscriptions: store, Targets: map[string]string{subscription.WebPush.Name(): "webpush"}, Logger: slog.New(slog.DiscardHandler),
		Park: func(_ context.Context, target string, p queue.Parked) error {
			assert.Equal(t, "webpush", target)
			in.parked = append(in.parked, p.Records...)
			for i := range p.Records {
				in.handle(t, p.Records[i])
			}
			return nil
		},
	}
	in.summaries.Unseen = func(_ context.Context, user string) (uint32, error) {
		in.sent.mu.Lock()
		defer in.sent.mu.Unlock()
		return in.sent.unseen(user)
	}
	in.summaries.Start()
	t.Cleanup(in.summaries.Stop)
	return in
}

// addDevices gives Alice devices with these preferences.
func addDevices(t *testing.T, table subscription.Table, preferences ...subscription.Preferences) {
	t.Helper()
	var devices []subscription.Subscription
	for i, p := range preferences {
		devices = append(devices, subscription.Subscription{
			ID: string(rune('A' + i)), Endpoint: "https://push.example.net/x", Expires: time.Now().Add(subscription.Lifetime), Preferences: p,
		})
	}
	value, err := json.Marshal(devices)
	require.NoError(t, err)
	_, err = table.Create(t.Context(), queue.Key{alice}, value)
	require.NoError(t, err)
}

// handle does what the engine does with a record.
func (in *instance) handle(t *testing.T, r queue.Record) {
	t.Helper()
	all, err := in.Destinations(t.Context(), &r)
	require.NoError(t, err)
	for _, d := range all {
		if r.Destination != "" && r.Destination != d.Key {
			continue
		}
		if d.Silenced == "" {
			to := r
			to.Destination = d.Key
			in.Deliver(t.Context(), &to)
		} else if d.Hold != nil {
			d.Hold(func(err error) { assert.NoError(t, err) })
		}
	}
}

// mail is handled as it is reported.
func (in *instance) mail(t *testing.T, event notification.Event, uid uint32, from string, unseen uint32) {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"user": alice, "event": event, "folder": "INBOX", "imap-uidvalidity": 1, "imap-uid": uid, "from": from, "subject": "Hello", "unseen": unseen,
	})
	require.NoError(t, err)
	in.handle(t, queue.Record{Accepted: time.Now(), Body: body})
}

// said are the summaries that were sent, without their times and identities.
func (in *instance) said() (all []notification.Summary) {
	in.sent.mu.Lock()
	defer in.sent.mu.Unlock()
	for _, s := range in.sent.summaries {
		s.ID, s.Time = "", time.Time{}
		all = append(all, s)
	}
	return all
}

var night = subscription.Preferences{QuietHours: &subscription.QuietHours{Start: "22:00", End: "07:00", TimeZone: "UTC"}}

// After the quiet hours there is one summary, whatever came meanwhile.
func TestSummaryAfterQuietHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which begins at midnight, UTC
		table := subscriptiontest.NewMemory()
		addDevices(t, table, night, subscription.Preferences{})
		in := startInstance(t, table)
		for uid, from := range []string{"Zoe <zoe@example.net>", "bob@example.net", "Anna <anna@example.net>", "Bob <bob@example.net>", "Anna <anna@example.net>"} {
			in.mail(t, notification.MessageNew, uint32(uid+1), from, uint32(uid+1))
			time.Sleep(time.Hour)
		}
		assert.Len(t, in.sent.sent, 5, "of the other device")
		time.Sleep(2*time.Hour - time.Second)
		in.mail(t, notification.MessageNew, 6, "bob@example.net", 6) // in the last moment
		assert.Empty(t, in.said())
		time.Sleep(10 * time.Second)
		want := notification.Summary{Type: "Summary", Count: 6, From: []string{"bob@example.net", "Anna"}, Others: 2, Unseen: new(uint32(6))}
		assert.Equal(t, []notification.Summary{want}, in.said())

		in.mail(t, notification.MessageNew, 7, "Eve <eve@example.net>", 7)
		assert.Len(t, in.sent.sent, 8, "both are notified again")
		time.Sleep(48 * time.Hour)
		assert.Len(t, in.said(), 1, "nothing came in the other nights")
		assert.Len(t, in.parked, 1)
	})
}

// A mute that its user ends is over at once.
func TestSummaryAfterAMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := subscriptiontest.NewMemory()
		addDevices(t, table, subscription.Preferences{MutedUntil: subscription.Forever, NotFrom: []string{"@lists.example.net"}})
		in := startInstance(t, table)
		in.mail(t, notification.MessageNew, 1, "Anna <anna@example.net>", 1)
		in.mail(t, notification.MessageNew, 2, "News <news@lists.example.net>", 2)
		time.Sleep(10 * 24 * time.Hour)
		in.mail(t, notification.MessageNew, 3, "Bob <bob@example.net>", 3)
		assert.Empty(t, in.said())
		_, err := in.Subscriptions.Prefer(t.Context(), alice, "A", func(p subscription.Preferences) (subscription.Preferences, error) {
			p.MutedUntil = subscription.Mute{}
			return p, nil
		})
		require.NoError(t, err)
		time.Sleep(3 * summaryInterval)
		// What is filtered is none of them, and nothing comes twice.
		want := notification.Summary{Type: "Summary", Count: 2, From: []string{"Bob", "Anna"}, Unseen: new(uint32(3))}
		assert.Equal(t, []notification.Summary{want}, in.said())
		time.Sleep(2 * time.Hour)
		assert.Len(t, in.said(), 1)
	})
}

// What was read meanwhile is not announced. If nothing else is left, the device only
// gets the number for its icon.
func TestSummaryOfWhatWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := subscriptiontest.NewMemory()
		addDevices(t, table, night)
		in := startInstance(t, table)
		in.mail(t, notification.MessageNew, 1, "Anna <anna@example.net>", 1)
		in.mail(t, notification.MessageNew, 2, "Bob <bob@example.net>", 2)
		in.mail(t, notification.MessageRead, 1, "", 1)
		time.Sleep(8 * time.Hour)
		assert.Equal(t, []notification.Summary{{Type: "Summary", Count: 1, From: []string{"Bob"}, Unseen: new(uint32(1))}}, in.said())

		time.Sleep(16 * time.Hour)
		in.mail(t, notification.MessageNew, 3, "Eve <eve@example.net>", 2)
		in.mail(t, notification.MessageExpunge, 3, "", 1)
		time.Sleep(8 * time.Hour)
		assert.Len(t, in.said(), 1, "the device never knew of it")

		time.Sleep(16 * time.Hour)
		in.mail(t, notification.MessageRead, 2, "", 0)
		time.Sleep(8 * time.Hour)
		assert.Equal(t, notification.Summary{Type: "Summary", Unseen: new(uint32(0))}, in.said()[1])

		time.Sleep(16 * time.Hour)
		in.mail(t, notification.MessageNew, 4, "Eve <eve@example.net>", 1)
		in.mail(t, notification.MessageNew, 5, "Anna <anna@example.net>", 2)
		in.sent.become(func() {
			in.sent.unseen = func(user string) (uint32, error) {
				assert.Equal(t, alice, user)
				return 1, nil
			}
		})
		time.Sleep(8 * time.Hour)
		assert.Equal(t, notification.Summary{Type: "Summary", Count: 1, From: []string{"Anna"}, Unseen: new(uint32(1))}, in.said()[2])
	})
}

// A device has no names of senders that it does not get, also where it got them when
// the mail came.
func TestSummaryHasNoMoreThanTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := subscriptiontest.NewMemory()
		thin := night
		thin.Content = notification.Thin
		addDevices(t, table, thin, night)
		in := startInstance(t, table)
		in.mail(t, notification.MessageNew, 1, "Anna <anna@example.net>", 1)
		time.Sleep(subscription.HoldInterval * 2)
		entry, err := table.Get(t.Context(), queue.Key{alice})
		require.NoError(t, err)
		var stored []subscription.Subscription
		require.NoError(t, json.Unmarshal(entry.Value, &stored))
		assert.Empty(t, stored[0].Held.Mails[0].From)
		assert.Equal(t, "Anna", stored[1].Held.Mails[0].From)
		in.sent.become(func() { in.sent.content = notification.Thin })
		time.Sleep(8 * time.Hour)
		want := notification.Summary{Type: "Summary", Count: 1, Unseen: new(uint32(1))}
		assert.Equal(t, []notification.Summary{want, want}, in.said())
	})
}

// Of several instances one has the summary sent. What is held outlives all of them.
func TestOneSummaryOfSeveralInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := subscriptiontest.NewMemory()
		addDevices(t, table, night)
		killed := startInstance(t, table)
		killed.mail(t, notification.MessageNew, 1, "Anna <anna@example.net>", 1)
		time.Sleep(subscription.HoldInterval + time.Millisecond)
		killed.summaries.Stop() // and its store writes nothing that it has not written
		var all []*instance
		for range 3 {
			all = append(all, startInstance(t, table))
		}
		for uid, in := range all {
			in.mail(t, notification.MessageNew, uint32(uid+2), "Anna <anna@example.net>", uint32(uid+2))
		}
		all[0].mail(t, notification.MessageNew, 3, "Anna <anna@example.net>", 3) // the queue delivers it again
		time.Sleep(30 * time.Hour)
		var said []notification.Summary
		for _, in := range all {
			said = append(said, in.said()...)
		}
		assert.Equal(t, []notification.Summary{{Type: "Summary", Count: 4, From: []string{"Anna"}, Unseen: new(uint32(4))}}, said)
	})
}

// A summary that cannot be sent stays, and is what it is when it can be sent. One that
// is refused is not repeated.
func TestSummaryThatIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := subscriptiontest.NewMemory()
		addDevices(t, table, night)
		in := startInstance(t, table)
		in.sent.become(func() { in.sent.outcome = delivery.TryAgain })
		in.mail(t, notification.MessageNew, 1, "Anna <anna@example.net>", 1)
		time.Sleep(7*time.Hour + time.Minute)
		require.Len(t, in.said(), 1)
		mute := func(until subscription.Mute) {
			_, err := in.Subscriptions.Prefer(t.Context(), alice, "A", func(p subscription.Preferences) (subscription.Preferences, error) {
				p.MutedUntil = until
				return p, nil
			})
			require.NoError(t, err)
		}
		mute(subscription.Forever)
		in.handle(t, in.parked[0])
		assert.Len(t, in.said(), 1, "the device is silenced again")
		in.mail(t, notification.MessageNew, 2, "Bob <bob@example.net>", 2)
		mute(subscription.Mute{})
		in.sent.become(func() { in.sent.outcome = delivery.Refused })
		time.Sleep(time.Minute)
		require.Len(t, in.said(), 2)
		assert.Equal(t, 2, in.said()[1].Count)
		in.handle(t, in.parked[0])
		in.handle(t, in.parked[1])
		time.Sleep(24 * time.Hour)
		assert.Len(t, in.said(), 2)
	})
}
