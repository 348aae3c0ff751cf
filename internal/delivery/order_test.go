// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/testlog"
)

// Each mailbox gets its notifications in their order, although some take
// longer than others and many workers deliver.
func TestOrder(t *testing.T) {
	q, _ := testQueue(t)
	target := newDevices("")
	target.answer = func(ctx context.Context, _ string, n int) Result { return slowly(ctx, n) }
	startTargets(t, q, nil, Target{Name: "a", Deliverer: target})
	const mailboxes, each = 20, 50
	for i := range each {
		for m := range mailboxes {
			acceptMail(t, q, notification.Mailbox(1+m), i*mailboxes+m, i*mailboxes+m+1)
		}
	}
	target.requireEach(t, "", 0, mailboxes*each)
	got := target.got("")
	require.False(t, slices.IsSorted(got), "mailboxes do not wait for each other")
	last := make(map[int]int)
	for _, n := range got {
		require.GreaterOrEqual(t, n, last[n%mailboxes])
		last[n%mailboxes] = n
	}
}

// What waits behind a failed notification is not delivered before it.
func TestOrderAfterFailure(t *testing.T) {
	withSchedule(t, 100*time.Millisecond)
	q, _ := testQueue(t)
	target := newDevices("")
	attempting, proceed := make(chan int, 1), make(chan struct{})
	var failed atomic.Bool
	target.answer = func(_ context.Context, _ string, n int) Result {
		if n == 1 && failed.CompareAndSwap(false, true) {
			attempting <- n
			<-proceed
			return Result{Reason: "status_503"}
		}
		return Result{Outcome: Delivered}
	}
	attempts := make(chan Attempt, 100)
	startTargets(t, q, func(a Attempt) { attempts <- a }, Target{Name: "a", Deliverer: target})
	acceptMail(t, q, 7, 1, 2)
	<-attempting
	acceptMail(t, q, 7, 2, 30)
	acceptMail(t, q, 8, 30, 31) // when this is delivered the others have been read
	require.Equal(t, Delivered, (<-attempts).Result.Outcome)
	proceed <- struct{}{}
	require.Equal(t, "status_503", (<-attempts).Result.Reason)
	requireStats(t, q, map[string]queue.TargetStats{"a": {}})
	want := []int{30}
	for n := 1; n < 30; n++ {
		want = append(want, n)
	}
	require.Equal(t, want, target.got(""))
	for len(attempts) > 0 {
		a := <-attempts
		require.LessOrEqual(t, a.Attempts, 2)
	}
}

// Dead letters of a mailbox are in the order of its notifications: a replay
// goes through them one after the other.
func TestOrderOfDeadLetters(t *testing.T) {
	q, _ := testQueue(t)
	target := newDevices("")
	target.answer = func(context.Context, string, int) Result { return Result{Outcome: Refused, Reason: "status_400"} }
	const each = 30
	for n := range each {
		acceptMail(t, q, 7, n, n+1)
	}
	startTargets(t, q, nil, Target{Name: "a", Deliverer: target})
	requireStats(t, q, map[string]queue.TargetStats{"a": {Dead: each}})
	var got []int
	for letter, err := range q.DeadLetters(t.Context(), queue.DeadLetterFilter{}) {
		require.NoError(t, err)
		got = append(got, int(letter.Record.UID))
	}
	require.Len(t, got, each)
	require.True(t, slices.IsSorted(got), "%v", got)
}

// A mailbox that gets more than can be delivered one by one does not hold up
// the others.
func TestOverflow(t *testing.T) {
	q, _ := testQueue(t)
	target := newDevices("")
	release := make(chan struct{})
	target.answer = func(ctx context.Context, _ string, n int) Result {
		if n < 3000 {
			select {
			case <-release:
			case <-ctx.Done():
				return Result{Reason: "timeout"}
			}
		}
		return Result{Outcome: Delivered}
	}
	startTargets(t, q, nil, Target{Name: "a", Deliverer: target, Workers: 2})
	acceptMailAtOnce(t, q, 7, 0, 3000)
	acceptMail(t, q, 8, 3000, 3100)
	target.requireEach(t, "", 3000, 3100)
	st, err := q.Stats(t.Context(), []string{"a"})
	require.NoError(t, err)
	require.Greater(t, st.Targets["a"].Parked, uint64(1000), "the overflow")
	close(release)
	target.requireEach(t, "", 0, 3100)
	requireStats(t, q, map[string]queue.TargetStats{"a": {}})
}

// However many wait, and however large they are, a target takes no more than it
// may hold: the rest stays where it is.
func TestBackPressure(t *testing.T) {
	t.Run("8 KiB", func(t *testing.T) { testBackPressure(t, 1500, 8<<10) })
	t.Run("6 MiB", func(t *testing.T) { testBackPressure(t, 20, 6<<20) })
}

func testBackPressure(t *testing.T, many, size int) {
	q := openQueue(t, queue.Config{Embedded: &queue.Embedded{Path: t.TempDir()}, MaxBytes: 1 << 30, MaxAge: time.Hour, Logger: testlog.New(t)})
	start(t, q, map[string]*scripted{"a": newScripted(takes)}).Stop()
	big := func(n int) queue.Record {
		r := numbered(n)
		r.Body = append(r.Body, make([]byte, size)...)
		return r
	}
	for n := range many {
		require.Eventually(t, func() bool { // a busy disk is too slow for some
			_, err := q.Accept(t.Context(), big(n), time.Hour)
			return err == nil
		}, patience, time.Millisecond)
	}
	devices := newDevices("")
	release := make(chan struct{})
	devices.answer = func(ctx context.Context, _ string, _ int) Result {
		select {
		case <-release:
			return Result{Outcome: Delivered}
		case <-ctx.Done():
			return Result{Reason: "timeout"}
		}
	}
	e := startTargets(t, q, nil, Target{Name: "a", Deliverer: devices, Timeout: time.Minute})
	held := func() int { return maxTargetMemory - e.runners[0].inflight.free() }
	require.Eventually(t, func() bool { return held() >= maxTargetMemory }, patience, time.Millisecond)
	require.Less(t, held(), maxTargetMemory+size+1<<10)
	close(release)
	devices.requireEach(t, "", 0, many)
	requireStats(t, q, map[string]queue.TargetStats{"a": {}})
	require.Eventually(t, func() bool { return held() == 0 }, patience, time.Millisecond) // soon after it was acknowledged
}

// Shares of the common bounds.
func TestShares(t *testing.T) {
	q, _ := testQueue(t)
	many := make([]Target, 100)
	for i := range many {
		many[i] = Target{Name: string(rune('a'+i/26)) + string(rune('a'+i%26)), Deliverer: newScripted(takes)}
	}
	e, err := New(Config{Queue: q, Targets: many, Logger: testlog.New(t)})
	require.NoError(t, err)
	for _, l := range e.runners {
		require.Equal(t, maxAttempts/100, l.Workers)
		require.Equal(t, maxMemory/100, l.inflight.limit)
	}
	e, err = New(Config{Queue: q, Targets: many[:1], Logger: testlog.New(t)})
	require.NoError(t, err)
	require.Equal(t, DefaultWorkers, e.runners[0].Workers)
	require.Equal(t, maxTargetMemory, e.runners[0].inflight.limit)
}
