// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/testlog"
)

func TestEverythingOnce(t *testing.T) {
	q, _ := testQueue(t)
	a, b := newScripted(takes), newScripted(takes)
	var attempts sync.Map
	e := start(t, q, map[string]*scripted{"a": a, "b": b}, func(cfg *Config) {
		cfg.Observe = func(attempt Attempt) {
			n, _ := attempts.LoadOrStore(attempt.Target, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			assert.Equal(t, Delivered, attempt.Result.Outcome)
			assert.False(t, attempt.Dead)
			assert.NotZero(t, attempt.Took)
			assert.GreaterOrEqual(t, attempt.Age, attempt.Took)
		}
	})
	accept(t, q, 0, 1000)
	a.requireEach(t, 0, 1000)
	b.requireEach(t, 0, 1000)
	requireStats(t, q, map[string]queue.TargetStats{"a": {}, "b": {}})
	e.Stop()
	e.Stop()
	for _, target := range []string{"a", "b"} {
		n, _ := attempts.Load(target)
		require.EqualValues(t, 1000, n.(*atomic.Int64).Load())
		require.False(t, e.Down(target))
	}
	require.False(t, e.Down("unknown"))
}

func TestNewAndStartRefuse(t *testing.T) {
	q, _ := testQueue(t)
	_, err := New(Config{Queue: q, Targets: []Target{{Name: "a"}, {Name: "a"}}, Logger: testlog.New(t)})
	require.ErrorContains(t, err, "two targets are named a")
	e, err := New(Config{Queue: q, Targets: []Target{{Name: "not.valid"}}, Logger: testlog.New(t)})
	require.NoError(t, err)
	require.ErrorContains(t, e.Start(t.Context()), "not.valid")
	e.Stop()
}

// One target hangs; the other gets everything meanwhile.
func TestHangingTarget(t *testing.T) {
	q, _ := testQueue(t)
	release := make(chan struct{})
	hangs := newScripted(func(ctx context.Context, _ int) Result {
		select {
		case <-release:
			return Result{Outcome: Delivered}
		case <-ctx.Done():
			return Result{Reason: "timeout"}
		}
	})
	works := newScripted(takes)
	start(t, q, map[string]*scripted{"hangs": hangs, "works": works})
	accept(t, q, 0, 500)
	works.requireEach(t, 0, 500)
	require.Empty(t, hangs.got())
	require.LessOrEqual(t, hangs.tried(), DefaultWorkers)
	close(release)
	hangs.requireEach(t, 0, 500)
	requireStats(t, q, map[string]queue.TargetStats{"hangs": {}, "works": {}})
}

// What a target does not want is done, for this target.
func TestWants(t *testing.T) {
	q, _ := testQueue(t)
	picky, all := newScripted(takes), newScripted(takes)
	var skipped atomic.Int64
	start(t, q, map[string]*scripted{"picky": picky, "all": all}, func(cfg *Config) {
		cfg.Observe = func(at Attempt) {
			if at.Skipped && at.Target == "picky" {
				skipped.Add(1)
			}
		}
		for i := range cfg.Targets {
			if cfg.Targets[i].Name == "picky" {
				cfg.Targets[i].Wants = func(r *queue.Record) bool { return len(r.Body) == 1 }
			}
		}
	})
	accept(t, q, 0, 500)
	all.requireEach(t, 0, 500)
	picky.requireEach(t, 0, 10)
	requireStats(t, q, map[string]queue.TargetStats{"picky": {}, "all": {}})
	require.Equal(t, 10, picky.tried())
	require.EqualValues(t, 490, skipped.Load(), "the observer is called")
}

// A timeout ends the attempt, not the notification.
func TestTimeout(t *testing.T) {
	q, _ := testQueue(t)
	var first atomic.Bool
	target := newScripted(func(ctx context.Context, n int) Result {
		if n == 3 && first.CompareAndSwap(false, true) {
			<-ctx.Done()
			assert.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
			return Result{Reason: "timeout", Err: ctx.Err()}
		}
		return Result{Outcome: Delivered}
	})
	start(t, q, map[string]*scripted{"a": target}, func(cfg *Config) { cfg.Targets[0].Timeout = 30 * time.Millisecond })
	accept(t, q, 0, 10)
	target.requireEach(t, 0, 10)
	require.Equal(t, 11, target.tried())
}

// A notification that fails is parked, does not hold up those behind it, and
// is delivered later.
func TestFailingNotification(t *testing.T) {
	q, _ := testQueue(t)
	var failures atomic.Int64
	again := make(chan struct{})
	target := newScripted(func(ctx context.Context, n int) Result {
		if n != 0 {
			return Result{Outcome: Delivered}
		}
		attempt := failures.Add(1)
		if attempt == 2 {
			select {
			case <-again:
			case <-ctx.Done():
			}
		}
		if attempt <= 3 {
			return Result{Reason: "status_503"}
		}
		return Result{Outcome: Delivered}
	})
	start(t, q, map[string]*scripted{"a": target})
	accept(t, q, 0, 1)
	requireStats(t, q, map[string]queue.TargetStats{"a": {Parked: 1}})
	accept(t, q, 1, 200)
	target.requireEach(t, 1, 200)
	close(again)
	target.requireEach(t, 0, 200)
	require.EqualValues(t, 4, failures.Load(), "three that failed and the one that did not")
	requireStats(t, q, map[string]queue.TargetStats{"a": {}})
}

// The number of attempts survives, so that the distances grow over restarts.
func TestAttemptsAreKept(t *testing.T) {
	withSchedule(t, time.Millisecond, time.Millisecond, time.Hour)
	q, cfg := testQueue(t)
	target := newScripted(func(_ context.Context, n int) Result {
		if n == 0 {
			return Result{Reason: "status_503"}
		}
		return Result{Outcome: Delivered}
	})
	e := start(t, q, map[string]*scripted{"a": target})
	accept(t, q, 0, 1)
	require.Eventually(t, func() bool { return target.tried() == 3 }, patience, time.Millisecond)
	accept(t, q, 1, 2) // closes the breaker again if it opened: three in a row
	target.requireEach(t, 1, 2)
	e.Stop()
	require.NoError(t, q.Close())

	q = openQueue(t, cfg)
	start(t, q, map[string]*scripted{"a": target})
	accept(t, q, 2, 3)
	target.requireEach(t, 1, 3)
	require.Equal(t, 3, target.attempts[0], "the next attempt is due in an hour")
	requireStats(t, q, map[string]queue.TargetStats{"a": {Parked: 1}})
}

// A restart in the middle of a backoff changes neither the number of attempts
// nor, to the millisecond, when the next one is due.
func TestDueTimeIsKept(t *testing.T) {
	withSchedule(t, time.Millisecond, time.Millisecond, time.Hour)
	q, cfg := testQueue(t)
	var works atomic.Bool
	target := newScripted(func(_ context.Context, n int) Result {
		if n == 0 && !works.Load() {
			return Result{Reason: "status_503"}
		}
		return Result{Outcome: Delivered}
	})
	e := start(t, q, map[string]*scripted{"a": target})
	failed := time.Now()
	accept(t, q, 0, 1)
	require.Eventually(t, func() bool { return target.tried() == 3 }, patience, time.Millisecond)
	requireStats(t, q, map[string]queue.TargetStats{"a": {Parked: 1}})
	e.Stop()

	release, err := q.Use(t.Context(), []string{"a"})
	require.NoError(t, err)
	before := requireParked(t, q)
	release()
	require.Equal(t, 3, before.Records[0].Attempts)
	require.WithinRange(t, before.Due, failed.Add(48*time.Minute), time.Now().Add(72*time.Minute))
	require.NoError(t, q.Close())
	q = openQueue(t, cfg)
	release, err = q.Use(t.Context(), []string{"a"})
	require.NoError(t, err)
	defer release()
	require.Equal(t, before, requireParked(t, q))

	// By a clock that nears the due time.
	var off atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
	attempts := make(chan Attempt, 10)
	e, err = New(Config{
		Queue: q, Targets: targetsOf(map[string]*scripted{"a": target}), MaxAge: 24 * time.Hour, Logger: testlog.New(t),
		Observe: func(a Attempt) { attempts <- a },
	})
	require.NoError(t, err)
	e.runners[0].now = clock
	off.Store(int64(time.Until(before.Due) - 5*time.Minute))
	works.Store(true)
	require.NoError(t, e.Start(t.Context()))
	t.Cleanup(e.Stop)
	accept(t, q, 1, 2)
	require.Equal(t, 1, (<-attempts).Attempts, "of the other one")
	require.Empty(t, attempts, "not before it is due")
	off.Store(int64(time.Until(before.Due)) + int64(time.Second))
	require.Equal(t, 4, (<-attempts).Attempts)
	target.requireEach(t, 0, 2)
	requireStats(t, q, map[string]queue.TargetStats{"a": {}})
}

// requireParked looks at the one group that is parked for a, and gives it back.
func requireParked(t *testing.T, q *queue.Queue) queue.Parked {
	t.Helper()
	reader := q.NewParkedReader("a")
	defer reader.Close()
	var parked queue.Parked
	require.Eventually(t, func() bool {
		groups, err := reader.Take(t.Context(), 1, 1<<30)
		if err != nil {
			return false
		}
		parked = groups[0].Parked
		return groups[0].Nak() == nil
	}, patience, time.Millisecond)
	return parked
}

func TestRefusedIsDead(t *testing.T) {
	q, _ := testQueue(t)
	target := newScripted(func(_ context.Context, n int) Result {
		if n%2 == 0 {
			return Result{Outcome: Refused, Reason: "status_400"}
		}
		return Result{Outcome: Delivered}
	})
	var dead atomic.Int64
	start(t, q, map[string]*scripted{"a": target}, func(cfg *Config) {
		cfg.Observe = func(a Attempt) {
			assert.Equal(t, a.Result.Outcome == Refused, a.Dead)
			if a.Dead {
				dead.Add(1)
			}
		}
	})
	accept(t, q, 0, 20)
	requireStats(t, q, map[string]queue.TargetStats{"a": {Dead: 10}})
	require.EqualValues(t, 10, dead.Load())
	require.Len(t, target.got(), 10)
	require.Equal(t, 20, target.tried(), "once each")
}

// What is too old is not attempted any more, parked or not.
func TestExpiredIsDead(t *testing.T) {
	q, _ := testQueue(t)
	target := newScripted(takes)
	var dead atomic.Int64
	e := start(t, q, map[string]*scripted{"a": target}, func(cfg *Config) {
		cfg.MaxAge = time.Minute
		cfg.Observe = func(a Attempt) {
			if a.Dead {
				dead.Add(1)
				assert.Equal(t, "expired", a.Result.Reason)
				assert.NotEqual(t, Delivered, a.Result.Outcome)
				assert.Greater(t, a.Age, time.Minute)
			}
		}
	})
	old := numbered(0)
	old.Accepted = time.Now().Add(-61 * time.Second)
	_, err := q.Accept(t.Context(), old, 0)
	require.NoError(t, err)
	old.ID[0]++
	require.NoError(t, q.Park(t.Context(), "a", queue.Parked{Records: []queue.Record{old}, Due: time.Now()}))
	accept(t, q, 2, 4)
	target.requireEach(t, 2, 4)
	requireStats(t, q, map[string]queue.TargetStats{"a": {Dead: 2}})
	e.Stop()
	require.EqualValues(t, 2, dead.Load())
	require.Equal(t, 2, target.tried())
}

// A target that refuses us pauses; nothing is thrown away, and everything goes
// when that is mended.
func TestMisconfiguredPauses(t *testing.T) {
	q, _ := testQueue(t)
	target := newScripted(answers(Misconfigured))
	works := newScripted(takes)
	began := time.Now()
	e := start(t, q, map[string]*scripted{"a": target, "b": works})
	accept(t, q, 0, 1)
	require.Eventually(t, func() bool { return e.Down("a") }, patience, time.Millisecond)
	accept(t, q, 1, 300)
	works.requireEach(t, 0, 300)
	require.False(t, e.Down("b"))
	before := target.tried()
	require.Eventually(t, func() bool { return target.tried() > before+2 }, patience, time.Millisecond, "it is looked after")
	require.Less(t, target.tried(), 100+probesSince(began), "with single attempts")
	target.become(takes)
	target.requireEach(t, 0, 300)
	require.False(t, e.Down("a"))
	requireStats(t, q, map[string]queue.TargetStats{"a": {}, "b": {}})
}

func TestDownAndBack(t *testing.T) {
	q, _ := testQueue(t)
	target := newScripted(answers(TryAgain))
	began := time.Now()
	e := start(t, q, map[string]*scripted{"a": target})
	accept(t, q, 0, 500)
	require.Eventually(t, func() bool { return e.Down("a") }, patience, time.Millisecond)
	st, err := q.Stats(t.Context(), []string{"a"})
	require.NoError(t, err)
	require.Less(t, int(st.Targets["a"].Parked), 50+probesSince(began), "the backlog stays where it is")
	target.become(takes)
	target.requireEach(t, 0, 500)
	requireStats(t, q, map[string]queue.TargetStats{"a": {}})
}

// A mailbox that gets many while the target is down changes nothing: they stay
// where they are, but for the single attempts.
func TestDownForOneMailbox(t *testing.T) {
	q, _ := testQueue(t)
	target := newDevices("")
	target.answer = func(context.Context, string, int) Result { return Result{Reason: "status_503"} }
	e := startTargets(t, q, nil, Target{Name: "a", Deliverer: target})
	acceptMail(t, q, 7, 0, downAfter)
	require.Eventually(t, func() bool { return e.Down("a") }, patience, time.Millisecond)
	acceptMailAtOnce(t, q, 7, downAfter, 5000)
	tried := target.attempts("")
	require.Eventually(t, func() bool { return target.attempts("") > tried+10 }, patience, time.Millisecond)
	st, err := q.Stats(t.Context(), []string{"a"})
	require.NoError(t, err)
	require.LessOrEqual(t, st.Targets["a"].Parked, uint64(target.attempts("")), "those that were attempted")
	target.change(func() { target.answer = newDevices().answer })
	target.requireEach(t, "", 0, 5000)
	require.False(t, e.Down("a"))
	requireStats(t, q, map[string]queue.TargetStats{"a": {}})
}
