// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// outageOf is a target that is down until works is true.
func outageOf(works *atomic.Bool, r Result) *people {
	return newPeople(func(string, int) Result {
		if works.Load() {
			return Result{Outcome: Delivered}
		}
		return r
	})
}

// What waits because a target or a push service was down is due as soon as that
// works again, and not at its own time, which may be half an hour off; also
// after a restart.
func TestBackAtOnce(t *testing.T) {
	down := Result{Reason: "connect", Fault: FaultOfService}
	for name, c := range map[string]struct{ devices, restart bool }{
		"target": {false, false}, "target, and restart": {false, true},
		"service": {true, false}, "service, and restart": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T) {
				const mailboxes = 20
				var works atomic.Bool
				p := outageOf(&works, down)
				target := Target{Name: "a", Deliverer: p}
				item := func(m int) string { return fmt.Sprint("mailbox ", m) }
				if c.devices {
					target.Destinations = p.destinations
					for m := 1; m <= mailboxes+1; m++ {
						p.devices[notification.Mailbox(m)] = []string{item(m)}
					}
				}
				q, cfg := testQueue(t)
				e := startTargets(t, q, nil, target)
				for m := 1; m <= mailboxes; m++ {
					acceptMail(t, q, notification.Mailbox(m), m, m+1)
					time.Sleep(time.Second)
				}
				time.Sleep(3 * time.Minute)
				if c.restart {
					e.Stop()
					require.NoError(t, q.Close())
					q = openQueue(t, cfg)
					e = startTargets(t, q, nil, target)
					time.Sleep(time.Minute) // of what is parked everything has been seen
				}
				p.mu.Lock()
				clear(p.attempts)
				p.mu.Unlock()
				works.Store(true)
				back := time.Now()
				acceptMail(t, q, mailboxes+1, mailboxes+1, mailboxes+2)
				time.Sleep(45 * time.Second) // the last probe is 30 s off, ± 20 %
				var first, last time.Time
				for m := 1; m <= mailboxes+1; m++ {
					at, ok := p.arrival(item(m), m)
					require.True(t, ok, "mail %d waits although everything works", m)
					require.True(t, at.After(back))
					if first.IsZero() || at.Before(first) {
						first = at
					}
					if at.After(last) {
						last = at
					}
				}
				require.Less(t, last.Sub(first), returnWithin+time.Second, "soon after each other")
				if c.devices { // waitsFor a target waits with is bounded by its workers
					require.Greater(t, last.Sub(first), returnGap, "but not all at once")
				}
				p.mu.Lock()
				for i, n := range p.attempts {
					require.Equal(t, 1, n, i)
				}
				p.mu.Unlock()
				requireStats(t, q, map[string]queue.TargetStats{"a": {}})
				e.Stop()
				require.NoError(t, q.Close())
			})
		})
	}
}

// What waits for its own fault goes on to do so when others work again.
func TestOwnFaultWaitsItsTime(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		var down atomic.Bool
		p := newPeople(func(item string, _ int) Result {
			switch {
			case item == "mailbox 1":
				return Result{Reason: "status_500"}
			case down.Load():
				return Result{Reason: "connect", Fault: FaultOfService}
			default:
				return Result{Outcome: Delivered}
			}
		})
		q, _ := testQueue(t)
		e := startTargets(t, q, nil, Target{Name: "a", Deliverer: p})
		acceptMail(t, q, 1, 1, 2)
		for n := 2; n < 20; n++ {
			time.Sleep(10 * time.Second)
			down.Store(n%3 == 0)
			acceptMail(t, q, 2, n, n+1)
		}
		p.mu.Lock()
		require.Less(t, p.attempts["mailbox 1"], 5, "at its own distances: 5 s, 30 s, 2 m")
		p.mu.Unlock()
		e.Stop()
		require.NoError(t, q.Close())
	})
}

// What was parked before something worked again is due, and nothing else.
func TestRecoveryDue(t *testing.T) {
	r, now := newRecovery(), time.Now()
	g := &queue.Group{Sequence: 7}
	require.False(t, r.due(g))
	require.False(t, r.postponed(g), "it waits for nothing but its time")
	g.WaitsFor, g.At = forTarget, now
	require.False(t, r.due(g))
	r.works("service a", true, now.Add(time.Second))
	require.False(t, r.due(g))
	r.works(forTarget, true, now.Add(-time.Second))
	require.False(t, r.due(g), "it failed after that")
	r.works(forTarget, true, now.Add(time.Second))
	require.True(t, r.due(g))
	require.True(t, r.postponed(g))
	require.Empty(t, r.waitsFor)
}
