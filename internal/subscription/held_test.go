// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription/subscriptiontest"
)

// mailFrom is a new mail in the INBOX, or read there later.
func mailFrom(event notification.Event, uid uint32, from string, unseen int) Silenced {
	e := Silenced{Event: event, Mail: NewHeldMail(&notification.Notification{Folder: "inbox", UIDValidity: 1, UID: uid}, from)}
	if unseen >= 0 {
		number := uint32(unseen)
		e.Unseen = &number
	}
	return e
}

func holdAll(events ...Silenced) *Held {
	list, _ := withHeld([]Subscription{{ID: "A"}}, map[string][]Silenced{"A": events})
	if list == nil {
		return nil
	}
	return list[0].Held
}

func uids(h *Held) (all []uint32) {
	for _, m := range h.Mails {
		all = append(all, m.UID)
	}
	return all
}

func TestHeldMails(t *testing.T) {
	const arrives, read = notification.MessageNew, notification.MessageRead
	t.Run("each once", func(t *testing.T) {
		held := holdAll(mailFrom(arrives, 7, "Anna <a@example.net>", 3), mailFrom(arrives, 7, "Anna <a@example.net>", 3), mailFrom(arrives, 8, "b@example.net", 4))
		assert.Equal(t, []uint32{7, 8}, uids(held))
		assert.Equal(t, uint32(4), *held.Unseen)
	})
	t.Run("what is read meanwhile is not among them", func(t *testing.T) {
		held := holdAll(mailFrom(arrives, 7, "", -1), mailFrom(arrives, 8, "", -1), mailFrom(read, 7, "", -1))
		assert.Equal(t, []uint32{8}, uids(held))
		assert.False(t, held.Withdrawn)
		assert.Nil(t, holdAll(mailFrom(arrives, 7, "", -1), mailFrom(notification.MessageExpunge, 7, "", -1)))
	})
	t.Run("what was announced before is", func(t *testing.T) {
		held := holdAll(mailFrom(read, 6, "", 0))
		assert.Empty(t, held.Mails)
		assert.True(t, held.Withdrawn)
		assert.Zero(t, *held.Unseen)
	})
	t.Run("the number of unseen mails tells what was read", func(t *testing.T) {
		held := holdAll(mailFrom(arrives, 7, "", 1), mailFrom(arrives, 8, "", 2), mailFrom(arrives, 9, "", 1))
		assert.Equal(t, []uint32{9}, uids(held))
		held = holdAll(mailFrom(arrives, 8, "", 2), mailFrom(arrives, 7, "", 1)) // as it was before 8
		assert.Equal(t, []uint32{8, 7}, uids(held))
		assert.Equal(t, uint32(2), *held.Unseen)
		assert.False(t, held.Withdrawn)
	})
	t.Run("not that of another folder", func(t *testing.T) {
		list := mailFrom(arrives, 1, "", 0)
		list.Mail.Folder = "Lists"
		held := holdAll(mailFrom(arrives, 7, "", 5), list)
		assert.Len(t, held.Mails, 2)
		assert.Equal(t, uint32(5), *held.Unseen)
		held.limit(0)
		assert.Len(t, held.Mails, 1)
	})
	t.Run("the names of the newest", func(t *testing.T) {
		held := holdAll(mailFrom(arrives, 1, "Zoe <z@example.net>", -1), mailFrom(arrives, 2, "Bob <b@example.net>", -1),
			mailFrom(arrives, 3, "", -1), mailFrom(arrives, 4, "Anna <a@example.net>", -1), mailFrom(arrives, 5, "Anna <a@example.net>", -1))
		names, others := held.Senders(2)
		assert.Equal(t, []string{"Anna", "Bob"}, names)
		assert.Equal(t, 1, others)
		names, others = held.Senders(3)
		assert.Equal(t, []string{"Anna", "Bob", "Zoe"}, names)
		assert.Zero(t, others)
	})
	t.Run("only what was said goes", func(t *testing.T) {
		sent := holdAll(mailFrom(arrives, 1, "", -1), mailFrom(arrives, 2, "", -1), mailFrom(read, 9, "", -1))
		later := holdAll(mailFrom(arrives, 1, "", -1), mailFrom(arrives, 2, "", -1), mailFrom(arrives, 3, "", -1), mailFrom(read, 9, "", -1))
		assert.Nil(t, sent.without(sent))
		assert.Equal(t, []uint32{3}, uids(later.without(sent)))
		assert.False(t, later.without(sent).Withdrawn)
	})
}

// A device that is silenced for long is bounded.
func TestHeldIsBounded(t *testing.T) {
	var short, long []Silenced
	for i := range uint32(3 * MaxHeld) {
		short = append(short, mailFrom(notification.MessageNew, i+1, fmt.Sprintf("sender %d <s@example.net>", i), -1))
		e := mailFrom(notification.MessageNew, i+1, strings.Repeat("ä", 200), -1)
		e.Mail.Folder = strings.Repeat("x", notification.MaxName)
		long = append(long, e)
	}
	held := holdAll(short...)
	assert.Len(t, held.Mails, MaxHeld)
	assert.True(t, held.More)
	held = holdAll(long...)
	assert.LessOrEqual(t, len(held.Mails)*(MaxHeldName+notification.MaxName), MaxHeldSize)
	assert.True(t, held.More)
	assert.Equal(t, strings.Repeat("ä", MaxHeldName/2), held.Mails[0].From)
}

// countedTable counts writes.
type countedTable struct {
	*subscriptiontest.Memory
	writes atomic.Int64
}

func (c *countedTable) Update(ctx context.Context, key queue.Key, value []byte, revision uint64) (uint64, error) {
	c.writes.Add(1)
	return c.Memory.Update(ctx, key, value, revision)
}

// brokenTable cannot be read while it is broken.
type brokenTable struct {
	*subscriptiontest.Memory
	broken atomic.Bool
}

func (b *brokenTable) Get(ctx context.Context, key queue.Key) (queue.Entry, error) {
	if b.broken.Load() {
		return queue.Entry{}, queue.ErrUnavailable
	}
	return b.Memory.Get(ctx, key)
}

// What is held of a burst is written once, before it counts as done; other instances
// and later ones have it.
func TestHoldIsWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &countedTable{Memory: subscriptiontest.NewMemory()}
		s := startStore(t, table, nil)
		d := confirmed(t, s, "alice", newDevice(t, "Phone"))
		before := table.writes.Load()
		var done atomic.Int64
		for uid := range uint32(50) {
			s.Hold("alice", d.ID, mailFrom(notification.MessageNew, uid+1, "Anna <a@example.net>", -1), func(err error) {
				assert.NoError(t, err)
				done.Add(1)
			})
		}
		synctest.Wait()
		assert.Zero(t, done.Load(), "it is not written yet")
		time.Sleep(HoldInterval + time.Millisecond)
		synctest.Wait()
		assert.Equal(t, int64(50), done.Load())
		assert.Equal(t, int64(1), table.writes.Load()-before)
		other := startStore(t, table, nil)
		awake := other.Awake()
		require.Len(t, awake, 1)
		assert.Len(t, awake[0].Device.Held.Mails, 50)
	})
}

// A device that is full costs a write now and then, for the number of unseen mails.
func TestHoldOfAFullDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &countedTable{Memory: subscriptiontest.NewMemory()}
		s := startStore(t, table, nil)
		d := confirmed(t, s, "alice", newDevice(t, "Phone"))
		uid := uint32(0)
		hold := func(n int) {
			for range n {
				uid++
				s.Hold("alice", d.ID, mailFrom(notification.MessageNew, uid, "", int(uid)), func(err error) { assert.NoError(t, err) })
			}
			time.Sleep(HoldInterval + time.Millisecond)
			synctest.Wait()
		}
		hold(MaxHeld + 1)
		before := table.writes.Load()
		for range 100 {
			hold(1)
		}
		assert.Equal(t, before, table.writes.Load())
		time.Sleep(writeFull)
		hold(1)
		assert.Equal(t, before+1, table.writes.Load())
		d, err := s.Find("alice", d.ID)
		require.NoError(t, err)
		assert.Equal(t, uid, *d.Held.Unseen)
	})
}

// What cannot be written is not done.
func TestHoldFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &brokenTable{Memory: subscriptiontest.NewMemory()}
		s := New(Config{Table: table, Logger: slog.New(slog.DiscardHandler)})
		s.Start()
		defer s.Stop()
		require.NoError(t, s.Wait(t.Context()))
		d := confirmed(t, s, "alice", newDevice(t, "Phone"))
		table.broken.Store(true)
		var failure error
		s.Hold("alice", d.ID, mailFrom(notification.MessageNew, 1, "", -1), func(err error) { failure = err })
		time.Sleep(HoldInterval + time.Millisecond)
		synctest.Wait()
		assert.Error(t, failure)
		table.broken.Store(false)
		assert.Empty(t, s.Awake())
	})
}

// One that stops writes what it has; what comes after that is not done.
func TestHoldAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := subscriptiontest.NewMemory()
		s := startStore(t, table, nil)
		d := confirmed(t, s, "alice", newDevice(t, "Phone"))
		var first, second error = nil, nil
		ended := 0
		s.Hold("alice", d.ID, mailFrom(notification.MessageNew, 1, "", -1), func(err error) { first = err; ended++ })
		s.Stop()
		assert.Equal(t, 1, ended)
		assert.NoError(t, first)
		s.Hold("alice", d.ID, mailFrom(notification.MessageNew, 2, "", -1), func(err error) { second = err; ended++ })
		synctest.Wait()
		assert.Equal(t, 2, ended)
		assert.Error(t, second)
	})
}

// Of the instances that see that a device is awake, one has its summary sent. It has
// some time for that.
func TestClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := subscriptiontest.NewMemory()
		a, b := startStore(t, table, nil), startStore(t, table, nil)
		d := confirmed(t, a, "alice", newDevice(t, "Phone"))
		muted := confirmed(t, a, "alice", newDevice(t, "Laptop"))
		_, err := a.Prefer(t.Context(), "alice", muted.ID, func(p Preferences) (Preferences, error) {
			p.MutedUntil = MuteUntil(time.Now().Add(24 * time.Hour))
			return p, nil
		})
		require.NoError(t, err)
		for _, id := range []string{d.ID, muted.ID, "another"} {
			a.Hold("alice", id, mailFrom(notification.MessageNew, 1, "", -1), func(err error) { assert.NoError(t, err) })
		}
		a.Hold("bob", "another", mailFrom(notification.MessageNew, 1, "", -1), func(err error) { assert.NoError(t, err) })
		time.Sleep(HoldInterval + time.Millisecond)
		synctest.Wait()
		require.Len(t, b.Awake(), 1)
		assert.Equal(t, d.ID, b.Awake()[0].Device.ID)
		won := 0
		for _, s := range []*Store{a, b} {
			claimed, err := s.Claim(t.Context(), "alice", []string{d.ID}, new(uint32))
			require.NoError(t, err)
			won += len(claimed)
		}
		assert.Equal(t, 1, won)
		synctest.Wait()
		assert.Empty(t, a.Awake())
		assert.Empty(t, b.Awake())
		time.Sleep(claimLifetime + time.Second)
		require.Len(t, b.Awake(), 1, "the one that claimed it was killed")
		held := b.Awake()[0].Device.Held
		assert.Empty(t, held.Mails)
		assert.True(t, held.Withdrawn, "nothing is unseen")
		require.NoError(t, b.Summarized(t.Context(), "alice", d.ID, held, Delivery{Time: time.Now(), Outcome: Delivered}))
		synctest.Wait()
		assert.Empty(t, a.Awake())
		time.Sleep(24 * time.Hour)
		require.Len(t, a.Awake(), 1)
		assert.Equal(t, muted.ID, a.Awake()[0].Device.ID, "its mute is over")
	})
}
