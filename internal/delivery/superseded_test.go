// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// failsFirst is a device at which the first notification fails, until it is
// attempted again.
func failsFirst() (d *devices, coalesced *atomic.Int64, target Target, observe func(Attempt)) {
	d, coalesced = newDevices("phone@a"), new(atomic.Int64)
	d.answer = func(_ context.Context, _ string, n int) Result {
		if n == 1 && d.attempts("phone@a") == 1 {
			return Result{Reason: "status_503"}
		}
		return Result{Outcome: Delivered}
	}
	target = d.target()
	target.Coalesce = time.Millisecond
	return d, coalesced, target, func(a Attempt) {
		if a.Coalesced {
			coalesced.Add(1)
		}
	}
}

// A mail that comes while an older one waits for its next attempt is the last
// one that a device is notified of, whether the older one is due soon or, over
// a restart or not, much later.
func TestOlderIsNotDeliveredLast(t *testing.T) {
	const parked = 1
	for name, test := range map[string]struct {
		due     time.Duration
		restart bool
	}{
		"due soon":               {due: 100 * time.Millisecond},
		"due later":              {due: time.Hour},
		"due later, and restart": {due: time.Hour, restart: true},
	} {
		t.Run(name, func(t *testing.T) {
			withSchedule(t, test.due)
			q, cfg := testQueue(t)
			d, coalesced, target, observe := failsFirst()
			e := startTargets(t, q, observe, target)
			acceptMail(t, q, 7, 1, 2)
			if test.due == time.Hour {
				requireStats(t, q, map[string]queue.TargetStats{"devices": {Parked: parked}})
			} else {
				require.Eventually(t, func() bool { return d.attempts("phone@a") >= 1 }, patience, time.Millisecond)
			}
			if test.restart {
				e.Stop()
				require.NoError(t, q.Close())
				q = openQueue(t, cfg)
				startTargets(t, q, observe, target)
			}
			acceptMail(t, q, 7, 2, 3)
			requireStats(t, q, map[string]queue.TargetStats{"devices": {}})
			got := d.got("phone@a")
			require.Equal(t, 2, got[len(got)-1], "the newer one is the last")
			if test.due == time.Hour {
				require.Equal(t, []int{2}, got)
				require.EqualValues(t, 1, coalesced.Load(), "the older one is counted")
			}
			acceptMail(t, q, 7, 3, 4)
			acceptMail(t, q, 8, 4, 5)
			requireStats(t, q, map[string]queue.TargetStats{"devices": {}})
			require.Subset(t, d.got("phone@a"), []int{3, 4})
		})
	}
}

// At first it is not known what is parked.
func TestSupersededAtFirst(t *testing.T) {
	l := newSuperseded()
	l.delivered(deviceJob(1, 3, "phone", ""))
	require.True(t, l.supersedes(deviceJob(1, 2, "phone", "")))
}

// Superseded notifications are known as long as they are parked, and forgotten
// later.
func TestSuperseded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSuperseded()
		time.Sleep(generationAge()) // everything that is parked has been seen
		second, third := deviceJob(1, 2, "phone", ""), deviceJob(1, 3, "phone", "")
		l.delivered(third)
		require.False(t, l.supersedes(second), "nothing of it is parked")
		l.seen(second)
		require.False(t, l.supersedes(second))
		require.Empty(t, l.delivered(deviceJob(1, 1, "phone", "")))
		require.False(t, l.supersedes(second), "only by something newer")
		l.delivered(third)
		require.True(t, l.supersedes(second))
		require.True(t, l.supersedes(third), "it was delivered")
		require.False(t, l.supersedes(deviceJob(1, 4, "phone", "")))
		require.False(t, l.supersedes(deviceJob(1, 2, "desktop", "")))
		require.False(t, l.supersedes(deviceJob(2, 2, "phone", "")))

		for range 10 {
			time.Sleep(generationAge() * 3 / 4)
			l.seen(second)
			require.True(t, l.supersedes(second), "it is still parked")
		}
		for n := range 3 {
			time.Sleep(generationAge() + 1)
			l.seen(deviceJob(2, uint32(n), "phone", ""))
		}
		require.False(t, l.supersedes(second))
		require.Len(t, l.young, 1)

		unknown := mailJob(3, 5) // its destinations were not known
		l.seen(unknown)
		l.delivered(deviceJob(3, 6, "phone", ""))
		require.True(t, l.supersedes(unknown))
		for n := range maxSuperseded + 10 {
			l.seen(mailJob(notification.Mailbox(10+n), 1))
		}
		require.LessOrEqual(t, len(l.young), maxSuperseded)
		l.seen(mailJob(0, 1))
		require.False(t, (*superseded)(nil).supersedes(second))
	})
}
