// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/natsleak"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func TestMain(m *testing.M) { natsleak.VerifyTestMain(m) }

const alice, bob = "alice@example.com", "bob@example.com"

// desk is where actions are offered and done, by a Dovecot of package doveadmtest.
type desk struct {
	*Actions
	t       *testing.T
	dovecot *doveadmtest.Server
	store   *subscription.Store
	cfg     Config
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	q := queuetest.Open(t, queuetest.Config(t.TempDir()))
	d := &desk{t: t, dovecot: doveadmtest.Start(t, doveadmtest.Config{Users: []string{alice, bob}})}
	for _, user := range []string{alice, bob} {
		d.dovecot.AddMailbox(user, "Archive")
		d.dovecot.AddMailbox(user, "Trash")
	}
	d.store = subscription.New(subscription.Config{Table: q.Table("subscriptions"), Logger: slog.New(slog.DiscardHandler)})
	d.store.Start()
	t.Cleanup(d.store.Stop)
	require.NoError(t, d.store.Wait(t.Context()))
	d.cfg = Config{
		Key:       func(context.Context) ([]byte, error) { return bytes.Repeat([]byte("k"), 32), nil },
		Mailboxes: NewDoveAdm(d.dovecot.Client(t)), Used: q.Table("actions"), Devices: d.store,
		Offer: []Action{Archive, Read, Trash}, ArchiveMailbox: "Archive", TrashMailbox: "Trash",
	}
	d.Actions = New(d.cfg)
	return d
}

// device adds a device of a user.
func (d *desk) device(user, endpoint string) *subscription.Subscription {
	d.t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(d.t, err)
	keys := subscription.Keys{P256DH: key.PublicKey().Bytes(), Auth: bytes.Repeat([]byte("a"), 16)}
	added, _, err := d.store.Add(d.t.Context(), user, subscription.Device{Name: "Phone", Address: subscription.Address{Endpoint: endpoint, Keys: keys}})
	require.NoError(d.t, err)
	confirmed, err := d.store.Confirm(d.t.Context(), user, added.ID, added.VerificationCode)
	require.NoError(d.t, err)
	require.Eventually(d.t, func() bool { _, err := d.store.Find(user, confirmed.ID); return err == nil }, time.Minute, time.Millisecond)
	return &confirmed
}

// deliver delivers a mail to the INBOX of a user, and returns the tickets that a
// device gets with it.
func (d *desk) deliver(user string, to *subscription.Subscription) map[Action]*Ticket {
	d.t.Helper()
	uid := d.dovecot.Deliver(user, "INBOX")
	status, err := d.dovecot.Client(d.t).MailboxStatus(d.t.Context(), user, "INBOX", "uidvalidity")
	require.NoError(d.t, err)
	uidValidity, err := number(status["uidvalidity"])
	require.NoError(d.t, err)
	m := &notification.Mail{Event: notification.MessageNew, Folder: "INBOX", UIDValidity: uidValidity, UID: uint32(uid)}
	return ticketsOf(d.Offer(d.t.Context(), user, to, m), m)
}

// ticketsOf are what a device makes of what it got.
func ticketsOf(offered *notification.Actions, m *notification.Mail) map[Action]*Ticket {
	tickets := make(map[Action]*Ticket)
	for _, o := range offered.Offer {
		tickets[Action(o.Action)] = &Ticket{
			User: offered.User, Device: offered.Device, Action: Action(o.Action), Folder: m.Folder, UIDValidity: m.UIDValidity, UID: m.UID,
			Expires: offered.Expires, Token: o.Token,
		}
	}
	return tickets
}

// mails are how many there are in a mailbox of a user.
func (d *desk) mails(user, mailbox string) (all, unseen string) {
	d.t.Helper()
	status, err := d.dovecot.Client(d.t).MailboxStatus(d.t.Context(), user, mailbox, "messages", "unseen")
	require.NoError(d.t, err)
	return status["messages"], status["unseen"]
}

func (d *desk) has(user, mailbox, all, unseen string) {
	d.t.Helper()
	gotAll, gotUnseen := d.mails(user, mailbox)
	assert.Equal(d.t, []string{all, unseen}, []string{gotAll, gotUnseen}, mailbox)
}

func TestDoAndUndo(t *testing.T) {
	d := newDesk(t)
	phone := d.device(alice, "https://push.example.net/1")
	do := func(ticket *Ticket) *Ticket {
		t.Helper()
		undo, err := d.Do(t.Context(), ticket)
		require.NoError(t, err)
		return undo
	}
	for _, c := range []struct {
		action      Action
		inbox, to   string
		unseen      string
		undo        Action
		destination string
	}{
		{Read, "1", "", "0", Unread, ""},
		{Archive, "0", "Archive", "0", Restore, "INBOX"},
		{Trash, "0", "Trash", "0", Restore, "INBOX"},
	} {
		t.Run(string(c.action), func(t *testing.T) {
			undo := do(d.deliver(alice, phone)[c.action])
			d.has(alice, "INBOX", c.inbox, c.unseen)
			if c.to != "" {
				d.has(alice, c.to, "1", "1")
			}
			require.NotNil(t, undo)
			assert.Equal(t, []any{c.undo, c.destination}, []any{undo.Action, undo.To})
			assert.Nil(t, do(undo), "undoing is not undone")
			d.has(alice, "INBOX", "1", "1")
			if c.to != "" {
				d.has(alice, c.to, "0", "0")
			}
			_, err := d.Do(t.Context(), undo)
			require.ErrorIs(t, err, ErrUsed)
			// The mail is out of the way of the next one.
			status, err := d.dovecot.Client(t).Fetch(t.Context(), alice, []string{"mailbox", "INBOX"}, "uid")
			require.NoError(t, err)
			require.Len(t, status, 1)
			d.dovecot.AddMailbox(alice, "Done "+string(c.action))
			require.NoError(t, d.dovecot.Client(t).Move(t.Context(), alice, "Done "+string(c.action), []string{"mailbox", "INBOX", "uid", "1:*"}))
		})
	}

	tickets := d.deliver(alice, phone)
	require.NoError(t, d.dovecot.Client(t).FlagsAdd(t.Context(), alice, []string{seenFlag}, []string{"mailbox", "INBOX"}))
	assert.Nil(t, do(tickets[Read]), "it was read elsewhere: there is nothing to undo")
}

// A ticket is good for what it was made for, and nothing else.
func TestForgedTickets(t *testing.T) {
	d := newDesk(t)
	phone, tablet, bobs := d.device(alice, "https://push.example.net/1"), d.device(alice, "https://push.example.net/2"), d.device(bob, "https://push.example.net/3")
	_ = d.deliver(bob, bobs)
	good := d.deliver(alice, phone)[Archive]
	for name, change := range map[string]func(*Ticket){
		"another device":      func(t *Ticket) { t.Device = tablet.ID },
		"another user":        func(t *Ticket) { t.User, t.Device = bob, bobs.ID },
		"another user alone":  func(t *Ticket) { t.User = bob },
		"another mail":        func(t *Ticket) { t.UID++ },
		"another UIDVALIDITY": func(t *Ticket) { t.UIDValidity++ },
		"another mailbox":     func(t *Ticket) { t.Folder = "Trash" },
		"another action":      func(t *Ticket) { t.Action = Trash },
		"undoing":             func(t *Ticket) { t.Action, t.To = Restore, "Trash" },
		"another destination": func(t *Ticket) { t.To = "Trash" },
		"later":               func(t *Ticket) { t.Expires++ },
		"no token":            func(t *Ticket) { t.Token = "" },
		"a cut token":         func(t *Ticket) { t.Token = t.Token[:len(t.Token)-1] },
		"a longer token":      func(t *Ticket) { t.Token += "A" },
		"moved letters":       func(t *Ticket) { t.User, t.Device = t.User+t.Device[:1], t.Device[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			forged := *good
			change(&forged)
			_, err := d.Do(t.Context(), &forged)
			require.ErrorIs(t, err, ErrForged)
		})
	}
	d.has(alice, "INBOX", "1", "1")
	d.has(bob, "INBOX", "1", "1")
	requests := d.dovecot.Requests()
	assert.Zero(t, requests["move"]+requests["flagsAdd"], "Dovecot hears nothing of them")

	other := New(Config{Key: func(context.Context) ([]byte, error) { return bytes.Repeat([]byte("o"), 32), nil }})
	require.ErrorIs(t, other.Check(t.Context(), good), ErrForged, "another server")
}

// A ticket is used once, by whichever of several instances is faster.
func TestTicketsAreUsedOnce(t *testing.T) {
	d := newDesk(t)
	phone := d.device(alice, "https://push.example.net/1")
	ticket := d.deliver(alice, phone)[Read]
	instances := []*Actions{d.Actions, New(d.cfg)}
	results := make([]error, 2*atOnceOfUser)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() { _, results[i] = instances[i%2].Do(t.Context(), ticket) })
	}
	all.Wait()
	done := 0
	for _, err := range results {
		if err == nil {
			done++
			continue
		}
		require.ErrorIs(t, err, ErrUsed)
	}
	assert.Equal(t, 1, done)
	assert.Equal(t, 1, d.dovecot.Requests()["flagsAdd"])
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := bytes.Repeat([]byte("k"), 32)
		a := New(Config{Key: func(context.Context) ([]byte, error) { return key, nil }, Offer: Offered})
		m := &notification.Mail{Event: notification.MessageNew, Folder: "INBOX", UIDValidity: 1, UID: 7}
		ticket := ticketsOf(a.Offer(t.Context(), alice, &subscription.Subscription{ID: "phone"}, m), m)[Read]
		time.Sleep(Lifetime - time.Nanosecond)
		require.False(t, ticket.expired(time.Now()))
		time.Sleep(time.Second)
		require.NoError(t, a.Check(t.Context(), ticket), "it is no forgery")
		_, err := a.Do(t.Context(), ticket)
		require.ErrorIs(t, err, ErrExpired)
	})
}

// A device that is removed takes its tickets along.
func TestRemovedDevice(t *testing.T) {
	d := newDesk(t)
	phone := d.device(alice, "https://push.example.net/1")
	ticket := d.deliver(alice, phone)[Archive]
	require.NoError(t, d.store.Remove(t.Context(), alice, phone.ID))
	require.Eventually(t, func() bool {
		_, err := d.store.Find(alice, phone.ID)
		return errors.Is(err, subscription.ErrNotFound)
	}, time.Minute, time.Millisecond)
	_, err := d.Do(t.Context(), ticket)
	require.ErrorIs(t, err, ErrNoDevice)
	d.has(alice, "INBOX", "1", "1")
}

// What may succeed later can be done again, and what never will cannot.
func TestFailures(t *testing.T) {
	d := newDesk(t)
	phone := d.device(alice, "https://push.example.net/1")
	tickets := d.deliver(alice, phone)
	d.dovecot.Down()
	_, err := d.Do(t.Context(), tickets[Read])
	require.ErrorIs(t, err, ErrDovecot)
	require.NoError(t, d.dovecot.Up())
	require.Eventually(t, func() bool { _, err = d.Do(t.Context(), tickets[Read]); return err == nil }, time.Minute, 10*time.Millisecond, "it is back")

	d.cfg.ArchiveMailbox = "Old mail"
	missing := New(d.cfg)
	_, err = missing.Do(t.Context(), tickets[Archive])
	require.ErrorIs(t, err, ErrNoMailbox)
	d.dovecot.AddMailbox(alice, "Old mail")
	_, err = missing.Do(t.Context(), tickets[Archive])
	require.NoError(t, err)
	_, err = d.Do(t.Context(), tickets[Trash])
	require.ErrorIs(t, err, ErrNoMail)
	_, err = d.Do(t.Context(), tickets[Trash])
	require.ErrorIs(t, err, ErrUsed)

	tickets = d.deliver(alice, phone)
	d.cfg.Offer = []Action{Read}
	_, err = New(d.cfg).Do(t.Context(), tickets[Trash])
	require.ErrorIs(t, err, ErrNotOffered, "the operator has changed their mind")
}

// A user whose mailbox hangs holds up nobody else.
func TestHangingMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Config{})
		var leave []func()
		for range atOnceOfUser {
			l, err := a.enter(t.Context(), alice)
			require.NoError(t, err)
			leave = append(leave, l)
		}
		_, err := a.enter(t.Context(), alice)
		require.ErrorIs(t, err, ErrBusy)
		l, err := a.enter(t.Context(), bob)
		require.NoError(t, err)
		l()
		for _, l := range leave {
			l()
		}
		assert.Empty(t, a.byUser)
		for i := range atOnce {
			_, err := a.enter(t.Context(), string(rune('a'+i)))
			require.NoError(t, err)
		}
		start := time.Now()
		_, err = a.enter(t.Context(), alice)
		require.ErrorIs(t, err, ErrBusy)
		assert.Equal(t, storeTimeout, time.Since(start))
		assert.NotContains(t, a.byUser, alice)
	})
}

// Mails do not wait for a key that cannot be read.
func TestKeyAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		away := errors.New("the storage is away")
		a := New(Config{Offer: Offered, Key: func(context.Context) ([]byte, error) {
			asked++
			return bytes.Repeat([]byte("k"), 32), away
		}})
		m := &notification.Mail{Event: notification.MessageNew, Folder: "INBOX", UIDValidity: 1, UID: 7}
		for range 3 {
			assert.Nil(t, a.Offer(t.Context(), alice, new(subscription.Subscription), m))
			require.ErrorIs(t, a.Check(t.Context(), new(Ticket)), ErrKey)
		}
		assert.Equal(t, 1, asked)
		away = nil
		time.Sleep(keyRetry)
		assert.NotNil(t, a.Offer(t.Context(), alice, new(subscription.Subscription), m))
	})
}

// Only a mail that can be found again has actions, and none that leads nowhere.
func TestOffer(t *testing.T) {
	a := New(Config{
		Key:   func(context.Context) ([]byte, error) { return bytes.Repeat([]byte("k"), 32), nil },
		Offer: []Action{Trash, Archive, Read}, ArchiveMailbox: "Archive", TrashMailbox: "Trash",
	})
	offered := func(user string, change func(*notification.Mail)) (actions []string) {
		m := &notification.Mail{Event: notification.MessageNew, Folder: "INBOX", UIDValidity: 1, UID: 7}
		change(m)
		if o := a.Offer(t.Context(), user, &subscription.Subscription{ID: "phone"}, m); o != nil {
			for _, offer := range o.Offer {
				actions = append(actions, offer.Action)
			}
		}
		return actions
	}
	assert.Equal(t, []string{"trash", "archive", "read"}, offered(alice, func(*notification.Mail) {}), "in the order of the operator")
	assert.Equal(t, []string{"trash", "read"}, offered(alice, func(m *notification.Mail) { m.Folder = "Archive" }))
	for name, change := range map[string]func(*notification.Mail){
		"no UID":         func(m *notification.Mail) { m.UID = 0 },
		"no UIDVALIDITY": func(m *notification.Mail) { m.UIDValidity = 0 },
		"read":           func(m *notification.Mail) { m.Event = notification.MessageRead },
		"a wildcard":     func(m *notification.Mail) { m.Folder = "Lists/*" },
	} {
		assert.Empty(t, offered(alice, change), name)
	}
	assert.Empty(t, offered("*@example.com", func(*notification.Mail) {}))
}
