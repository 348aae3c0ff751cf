// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/testlog"
)

// startWithClock begins to deliver by a clock that is off by what the test
// stores.
func startWithClock(t *testing.T, target *scripted, off *atomic.Int64) *queue.Queue {
	t.Helper()
	q, _ := testQueue(t)
	e, err := New(Config{Queue: q, Targets: targetsOf(map[string]*scripted{"a": target}), MaxAge: 24 * time.Hour, Logger: testlog.New(t)})
	require.NoError(t, err)
	e.runners[0].now = func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
	require.NoError(t, e.Start(t.Context()))
	t.Cleanup(e.Stop)
	accept(t, q, 0, 1)
	return q
}

// The clock jumps while a notification waits for its next attempt, forward or
// far back: it is attempted, and nothing is lost.
func TestClockJumps(t *testing.T) {
	for name, c := range map[string]struct {
		steps time.Duration // of the schedule
		jump  time.Duration
	}{
		"forward": {time.Hour, 2 * time.Hour},
		// Due in an hour by a clock that was a year ahead.
		"back": {time.Hour, -365 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			withSchedule(t, c.steps)
			var off atomic.Int64
			var works atomic.Bool
			target := newScripted(func(context.Context, int) Result {
				if works.Load() {
					return Result{Outcome: Delivered}
				}
				return Result{Reason: "status_503"}
			})
			q := startWithClock(t, target, &off)
			requireStats(t, q, map[string]queue.TargetStats{"a": {Parked: 1}})
			require.Equal(t, 1, target.tried())
			works.Store(true)
			off.Store(int64(c.jump))
			require.Eventually(t, func() bool { return len(target.got()) == 1 }, time.Minute, 10*time.Millisecond)
			require.Equal(t, 2, target.tried())
		})
	}
}
