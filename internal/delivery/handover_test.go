// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// slowly takes everything, after a moment.
func slowly(_ context.Context, _ int) Result {
	time.Sleep(rand.N(2 * time.Millisecond))
	return Result{Outcome: Delivered}
}

// Engines that stop in the middle and start again, on the same queue or on one
// that was closed in between, deliver everything and nothing twice.
func TestStopInTheMiddle(t *testing.T) {
	for name, reopen := range map[string]bool{"same queue": false, "reopened queue": true} {
		t.Run(name, func(t *testing.T) {
			q, cfg := testQueue(t)
			target := newScripted(slowly)
			targets := map[string]*scripted{"a": target}
			start(t, q, targets).Stop()
			accept(t, q, 0, 1000)
			for done := 100; done < 1000; done += 300 {
				e := start(t, q, targets)
				require.Eventually(t, func() bool { return len(target.got()) >= done }, patience, time.Millisecond)
				e.Stop()
				if reopen {
					require.NoError(t, q.Close())
					q = openQueue(t, cfg)
				}
			}
			start(t, q, targets)
			target.requireEach(t, 0, 1000)
			requireStats(t, q, map[string]queue.TargetStats{"a": {}})
		})
	}
}

// An attempt that is under way may end; one that does not is ended, and made
// again by the next engine.
func TestStopWhileTargetHangs(t *testing.T) {
	q, _ := testQueue(t)
	hanging := make(chan struct{}, 1000)
	target := newScripted(func(ctx context.Context, n int) Result {
		if n < 5 {
			hanging <- struct{}{}
			<-ctx.Done()
			return Result{Outcome: Refused, Reason: "canceled"} // the target is not to blame
		}
		return Result{Outcome: Delivered}
	})
	e := start(t, q, map[string]*scripted{"a": target})
	accept(t, q, 0, 50)
	for range 5 {
		<-hanging
	}
	target.requireEach(t, 5, 50)
	e.Stop()
	require.EventuallyWithT(t, func(c *assert.CollectT) { // groups as a whole or what is left of them
		st, err := q.Stats(t.Context(), []string{"a"})
		require.NoError(c, err)
		assert.EqualValues(c, 5, st.Targets["a"].Waiting+st.Targets["a"].Parked, "%+v", st)
	}, patience, 10*time.Millisecond)
	target.become(takes)
	start(t, q, map[string]*scripted{"a": target})
	target.requireEach(t, 0, 50)
	requireStats(t, q, map[string]queue.TargetStats{"a": {}})
}

// A target that is down when the engine stops loses nothing either.
func TestStopWhileTargetIsDown(t *testing.T) {
	q, _ := testQueue(t)
	target := newScripted(answers(Misconfigured))
	e := start(t, q, map[string]*scripted{"a": target})
	accept(t, q, 0, 200)
	require.Eventually(t, func() bool { return e.Down("a") }, patience, time.Millisecond)
	e.Stop()
	target.become(takes)
	start(t, q, map[string]*scripted{"a": target})
	target.requireEach(t, 0, 200)
	requireStats(t, q, map[string]queue.TargetStats{"a": {}})
}

// While a reload hands over, two engines share the queue.
func TestTwoEngines(t *testing.T) {
	q, _ := testQueue(t)
	target := newScripted(slowly)
	targets := map[string]*scripted{"a": target}
	old := start(t, q, targets)
	accept(t, q, 0, 400)
	start(t, q, targets)
	accept(t, q, 400, 800)
	old.Stop()
	accept(t, q, 800, 1200)
	target.requireEach(t, 0, 1200)
	requireStats(t, q, map[string]queue.TargetStats{"a": {}})
}

// A target that leaves the configuration finds what waited when it comes back.
func TestTargetRemoved(t *testing.T) {
	q, _ := testQueue(t)
	a, b := newScripted(takes), newScripted(answers(Misconfigured))
	e := start(t, q, map[string]*scripted{"a": a, "b": b})
	accept(t, q, 0, 20)
	a.requireEach(t, 0, 20)
	without := start(t, q, map[string]*scripted{"a": a})
	e.Stop()
	accept(t, q, 20, 40)
	a.requireEach(t, 0, 40)
	without.Stop()
	b.become(takes)
	start(t, q, map[string]*scripted{"a": a, "b": b})
	b.requireEach(t, 0, 40)
	requireStats(t, q, map[string]queue.TargetStats{"a": {}, "b": {}})
}

// New settings of the store interrupt no delivery and repeat none.
func TestStoreReopensUnderneath(t *testing.T) {
	q, cfg := testQueue(t)
	target := newScripted(slowly)
	start(t, q, map[string]*scripted{"a": target})
	accept(t, q, 0, 500)
	for i := range 4 {
		cfg.Embedded = &queue.Embedded{Path: cfg.Embedded.Path, Sync: time.Duration(i%2) * time.Second}
		require.NoError(t, q.Reconcile(t.Context(), cfg))
		accept(t, q, 500+100*i, 600+100*i)
	}
	target.requireEach(t, 0, 900)
	requireStats(t, q, map[string]queue.TargetStats{"a": {}})
}
