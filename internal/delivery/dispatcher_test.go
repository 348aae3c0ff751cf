// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// mailJob is job n, of a mailbox.
func mailJob(mailbox notification.Mailbox, uid uint32) *job {
	return &job{record: &queue.Record{Mailbox: mailbox, UID: uid, Accepted: time.Now()}}
}

func deviceJob(mailbox notification.Mailbox, uid uint32, device, service string) *job {
	j := mailJob(mailbox, uid)
	j.record.Destination, j.service = device, service
	return j
}

func add(t *testing.T, l *dispatcher, all ...*job) {
	t.Helper()
	for _, j := range all {
		instead, overflow := l.add(j)
		require.Nil(t, instead)
		require.False(t, overflow)
	}
}

// requireTakes takes what is ready, and nothing else.
func requireTakes(t *testing.T, l *dispatcher, want ...*job) {
	t.Helper()
	for i, j := range want {
		require.Same(t, j, l.take(), i)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Zero(t, l.ready.count)
}

// Jobs of a mailbox go one after the other, those of others in between.
func TestDispatcherOrder(t *testing.T) {
	l := newDispatcher(8, 0)
	a1, a2, a3 := mailJob(1, 1), mailJob(1, 2), mailJob(1, 3)
	b1, b2 := mailJob(2, 1), mailJob(2, 2)
	add(t, l, a1, a2, b1, a3, b2)
	requireTakes(t, l, a1, b1)
	l.done(b1, true)
	requireTakes(t, l, b2)
	l.done(a1, true)
	requireTakes(t, l, a2)
	l.done(b2, true)
	l.done(a2, true)
	requireTakes(t, l, a3)
	l.done(a3, true)
	require.Empty(t, l.keys)
	add(t, l, a1, b1)
	requireTakes(t, l, a1, b1)
}

// What an earlier version stored has no mailbox: it waits for nothing.
func TestDispatcherWithoutMailbox(t *testing.T) {
	l := newDispatcher(8, 0)
	a, b := mailJob(0, 1), mailJob(0, 2)
	add(t, l, a, b)
	requireTakes(t, l, a, b)
	l.done(a, true)
	require.Empty(t, l.failed(b))
}

// After a failure nothing of the mailbox is dispatched before it.
func TestDispatcherFailed(t *testing.T) {
	l := newDispatcher(8, 0)
	a1, a2, a3, a4, b := mailJob(1, 1), mailJob(1, 2), mailJob(1, 3), mailJob(1, 4), mailJob(2, 1)
	add(t, l, a1, a2, a3, b)
	requireTakes(t, l, a1, b)
	require.Equal(t, []*job{a2, a3}, l.failed(a1))
	add(t, l, a4)
	requireTakes(t, l, a4)
	require.Empty(t, l.failed(a4))
	l.done(b, true)
	require.Empty(t, l.keys)
}

// One mailbox cannot fill the line.
func TestDispatcherOverflow(t *testing.T) {
	l := newDispatcher(8, 0)
	first := mailJob(1, 0)
	add(t, l, first)
	for n := range maxPerKey {
		require.False(t, l.full(mailJob(1, 0)))
		add(t, l, mailJob(1, uint32(n)))
	}
	require.True(t, l.full(mailJob(1, 0)))
	instead, overflow := l.add(mailJob(1, 0))
	require.True(t, overflow)
	require.Nil(t, instead)
	other := mailJob(2, 0)
	require.False(t, l.full(other))
	add(t, l, other)
	requireTakes(t, l, first, other)
	l.done(first, true)
	require.False(t, l.full(mailJob(1, 0)))
	l.close()
	require.Len(t, l.drain(), maxPerKey)
}

// A service gets its share of the workers, whatever waits for it.
func TestDispatcherShare(t *testing.T) {
	l := newDispatcher(2, 0)
	var slow []*job
	for n := range 5 {
		slow = append(slow, deviceJob(1, 1, string(rune('a'+n)), "slow"))
	}
	fast := deviceJob(1, 1, "f", "fast")
	add(t, l, append(slow, fast)...)
	require.Same(t, slow[0], l.take())
	require.Same(t, slow[1], l.take())
	require.Same(t, fast, l.take())
	l.done(fast, true)
	l.done(slow[1], true)
	requireTakes(t, l, slow[2])
	require.Empty(t, l.failed(slow[0]))
	requireTakes(t, l, slow[3])
	l.close()
	require.Nil(t, l.take())
	require.Equal(t, []*job{slow[4]}, l.drain())
	l.done(slow[2], true)
	l.done(slow[3], true)
	require.Empty(t, l.services)
}

// Of a burst the first goes at once, then the newest after each cool-down.
func TestDispatcherCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newDispatcher(8, 10*time.Second)
		first := deviceJob(1, 1, "phone", "")
		add(t, l, first)
		requireTakes(t, l, first)
		second, third := deviceJob(1, 2, "phone", ""), deviceJob(1, 3, "phone", "")
		other, desktop := deviceJob(2, 9, "phone", ""), deviceJob(1, 1, "desktop", "")
		add(t, l, second, other, desktop)
		instead, _ := l.add(third)
		require.Same(t, second, instead)
		instead, _ = l.add(second)
		require.Same(t, second, instead, "an older one that comes later")
		requireTakes(t, l, other, desktop)
		l.done(other, true)
		l.done(desktop, true)

		l.done(first, true)
		start := time.Now()
		fourth := deviceJob(1, 4, "phone", "")
		time.Sleep(9 * time.Second)
		instead, _ = l.add(fourth)
		require.Same(t, third, instead)
		requireTakes(t, l, fourth)
		require.Equal(t, 10*time.Second, time.Since(start))
		l.done(fourth, true)

		time.Sleep(time.Minute)
		synctest.Wait()
		require.Empty(t, l.keys, "nothing is remembered after the cool-down")
		require.Empty(t, l.coolingDown)
		add(t, l, deviceJob(1, 5, "phone", ""))
		require.NotNil(t, l.take(), "after a quiet time at once")
	})
}

// Requests may be reordered: a job older than one delivered within the
// cool-down is not delivered. If that one was not delivered, the older one is.
func TestDispatcherCoalescesWrongOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newDispatcher(8, 10*time.Second)
		older, newer := deviceJob(1, 1, "phone", ""), deviceJob(1, 2, "phone", "")
		add(t, l, newer)
		instead, _ := l.add(older)
		require.Same(t, older, instead, "while the newer one is ready")
		requireTakes(t, l, newer)
		instead, _ = l.add(older)
		require.Same(t, older, instead, "while it is delivered")
		l.done(newer, true)
		instead, _ = l.add(older)
		require.Same(t, older, instead, "while it rests")
		time.Sleep(time.Minute)

		add(t, l, newer)
		requireTakes(t, l, newer)
		l.done(newer, false)
		add(t, l, older)
		time.Sleep(time.Minute)
		requireTakes(t, l, older)
	})
}

// With UIDs that are not known, what was accepted later is newer.
func TestNewerThan(t *testing.T) {
	early, late, unknown := mailJob(1, 7), mailJob(1, 8), mailJob(1, 0)
	early.record.Accepted = late.record.Accepted.Add(time.Second)
	require.True(t, late.newerThan(early), "requests may be reordered")
	require.False(t, early.newerThan(late))
	unknown.record.Accepted = late.record.Accepted.Add(time.Minute)
	require.True(t, unknown.newerThan(late))
	require.False(t, late.newerThan(unknown))
}

func TestDispatcherClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newDispatcher(8, time.Second)
		taken := make(chan *job)
		for range 3 {
			go func() { taken <- l.take() }()
		}
		synctest.Wait()
		a := deviceJob(1, 1, "phone", "")
		add(t, l, a)
		require.Same(t, a, <-taken)
		l.done(a, true)
		waits := deviceJob(1, 2, "phone", "")
		add(t, l, waits) // until the cool-down is over
		l.close()
		require.Nil(t, <-taken)
		require.Nil(t, <-taken)
		time.Sleep(time.Minute)
		require.Equal(t, []*job{waits}, l.drain())
		require.Empty(t, l.drain())
	})
}
