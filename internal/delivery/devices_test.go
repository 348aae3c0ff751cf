// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// devices is a target with several destinations. A device is named
// "<device>@<service>".
type devices struct {
	mu        sync.Mutex
	all       []string
	err       error
	answer    func(ctx context.Context, device string, n int) Result
	tried     map[string]int
	delivered map[string][]int
}

func newDevices(names ...string) *devices {
	return &devices{
		all: names, tried: make(map[string]int), delivered: make(map[string][]int),
		answer: func(context.Context, string, int) Result { return Result{Outcome: Delivered} },
	}
}

func (d *devices) destinations(context.Context, *queue.Record) (all []Destination, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range d.all {
		_, service, _ := strings.Cut(name, "@")
		all = append(all, Destination{Key: name, Service: service})
	}
	return all, d.err
}

func (d *devices) Deliver(ctx context.Context, r *queue.Record) Result {
	n := int(binary.BigEndian.Uint64(r.ID[:]))
	d.mu.Lock()
	d.tried[r.Destination]++
	answer := d.answer
	d.mu.Unlock()
	result := answer(ctx, r.Destination, n)
	d.mu.Lock()
	defer d.mu.Unlock()
	if result.Outcome == Delivered {
		d.delivered[r.Destination] = append(d.delivered[r.Destination], n)
	}
	return result
}

// change is for the test to alter what the target does.
func (d *devices) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *devices) got(device string) []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.delivered[device])
}

func (d *devices) attempts(device string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tried[device]
}

// requireEach waits until a device got exactly from..to-1, once each.
func (d *devices) requireEach(t *testing.T, device string, from, to int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(d.got(device)) >= to-from }, patience, 5*time.Millisecond, device)
	got := d.got(device)
	slices.Sort(got)
	require.Len(t, got, to-from)
	for i, n := range got {
		require.Equal(t, from+i, n, device)
	}
}

func (d *devices) target() Target {
	return Target{Name: "devices", Deliverer: d, Destinations: d.destinations, Timeout: 10 * time.Second}
}

// startTargets begins to deliver to targets that need more than a name.
func startTargets(t *testing.T, q *queue.Queue, observe func(Attempt), targets ...Target) *Engine {
	t.Helper()
	return start(t, q, nil, func(cfg *Config) { cfg.Targets, cfg.Observe = targets, observe })
}

// acceptMail takes from..to-1 in, one after the other, for one mailbox. The
// number is the UID.
func acceptMail(t *testing.T, q *queue.Queue, mailbox notification.Mailbox, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		r := numbered(n)
		r.Mailbox, r.UID = mailbox, uint32(n)
		_, err := q.Accept(context.Background(), r, time.Minute)
		assert.NoError(t, err)
	}
}

// acceptMailAtOnce does the same from many connections, in no order.
func acceptMailAtOnce(t *testing.T, q *queue.Queue, mailbox notification.Mailbox, from, to int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for n := from + i; n < to; n += 64 {
				acceptMail(t, q, mailbox, n, n+1)
			}
		})
	}
	wg.Wait()
}

func TestEveryDevice(t *testing.T) {
	q, _ := testQueue(t)
	d := newDevices("phone@a", "desktop@a", "tablet@b")
	startTargets(t, q, nil, d.target())
	accept(t, q, 0, 200)
	for _, device := range d.all {
		d.requireEach(t, device, 0, 200)
	}
	requireStats(t, q, map[string]queue.TargetStats{"devices": {}})
}

func TestNoDevice(t *testing.T) {
	q, _ := testQueue(t)
	d := newDevices()
	var skipped atomic.Int64
	startTargets(t, q, func(at Attempt) {
		skipped.Add(1)
		assert.True(t, at.Skipped, "there was nothing to attempt")
	}, d.target())
	accept(t, q, 0, 200)
	requireStats(t, q, map[string]queue.TargetStats{"devices": {}})
	require.EqualValues(t, 200, skipped.Load())
}

// A device that fails is attempted again alone; the others got theirs and do
// not get them once more.
func TestFailingDevice(t *testing.T) {
	q, cfg := testQueue(t)
	d := newDevices("phone@a", "desktop@b")
	d.answer = func(_ context.Context, device string, _ int) Result {
		if device == "desktop@b" {
			return Result{Reason: "status_503"}
		}
		return Result{Outcome: Delivered}
	}
	began := time.Now()
	e := startTargets(t, q, nil, d.target())
	accept(t, q, 0, 100)
	d.requireEach(t, "phone@a", 0, 100)
	require.Eventually(t, func() bool { // what is attempted again is parked twice for a moment
		st, err := q.Stats(t.Context(), []string{"devices"})
		return err == nil && st.Targets["devices"].Waiting == 0 && st.Targets["devices"].Parked >= 100
	}, patience, 10*time.Millisecond)
	require.Less(t, d.attempts("desktop@b"), 60+probesSince(began), "single attempts, once its service counts as down")

	e.Stop() // the device is known over a restart
	require.NoError(t, q.Close())
	q = openQueue(t, cfg)
	d.change(func() { d.answer = newDevices().answer })
	startTargets(t, q, nil, d.target())
	d.requireEach(t, "desktop@b", 0, 100)
	d.requireEach(t, "phone@a", 0, 100)
	requireStats(t, q, map[string]queue.TargetStats{"devices": {}})
}

// A service is left alone when different devices fail one after the other, and
// nobody knows why. What is one device's own fault says nothing about it.
func TestServiceGoesDown(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		result Result
		same   bool // device
		down   bool
	}{
		"nobody knows why":       {Result{Reason: "status_500"}, false, true},
		"always the same device": {Result{Reason: "status_500"}, true, false},
		"refused":                {Result{Outcome: Misconfigured, Reason: "status_403"}, false, true},
		"its own fault":          {Result{Outcome: Misconfigured, Fault: FaultOfItem}, false, false},
		"no request":             {Result{Fault: FaultOfOurs}, false, false},
		"no connection":          {Result{Fault: FaultOfService}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, others := newServiceBreakers(newHealth()), deviceJob(1, 1, "another", "push.example")
			for n := range downAfter {
				change := s.done(others, passFree, Result{Outcome: Delivered}, now).change
				require.Equal(t, unchanged, change)
				change = s.done(deviceJob(1, 1, fmt.Sprint("first", n), "push.example"), passFree, c.result, now).change
				require.Equal(t, unchanged, change, "one in a row")
			}
			s.done(others, passFree, Result{Outcome: Delivered}, now)
			var change transition
			for n := range downAfter {
				device := "phone"
				if !c.same {
					device = fmt.Sprint("phone", n)
				}
				change = s.done(deviceJob(1, 1, device, "push.example"), passFree, c.result, now).change
			}
			require.Equal(t, c.down, change == wentDown)
			if c.down && !c.same {
				require.NotZero(t, s.obstacle(deviceJob(1, 1, "phone0", "push.example"), now).wait)
			}
			for range trialBurst {
				require.Zero(t, s.obstacle(others, now).wait, "one that works may be tried")
				require.Zero(t, s.obstacle(deviceJob(1, 1, "stranger", "push.example"), now).wait)
				for _, device := range []string{"another", "stranger"} {
					p, _, _ := s.admit(t.Context(), deviceJob(1, 1, device, "push.example"), func() time.Time { return now })
					require.Equal(t, c.down, p == passTrial)
				}
			}
			require.Equal(t, c.down, s.obstacle(others, now).wait > 0, "but not without end")
		})
	}
}

// A service that hangs does not take the workers from the others, and is left
// alone after a while.
func TestHangingService(t *testing.T) {
	q, _ := testQueue(t)
	d := newDevices("phone@works", "desktop@hangs")
	d.answer = func(ctx context.Context, device string, _ int) Result {
		if device == "desktop@hangs" {
			<-ctx.Done()
			return Result{Reason: "timeout"}
		}
		return Result{Outcome: Delivered}
	}
	target := d.target()
	target.Workers, target.Timeout = 4, 100*time.Millisecond
	began := time.Now()
	startTargets(t, q, nil, target)
	accept(t, q, 0, 500)
	d.requireEach(t, "phone@works", 0, 500)
	d.change(func() { d.answer = newDevices().answer })
	hung := int(time.Since(began) / target.Timeout) // one attempt after the other
	d.requireEach(t, "desktop@hangs", 0, 500)
	require.Less(t, d.attempts("desktop@hangs"), 600+hung)
}

// A device that unsubscribed is done with, and what is parked for it as well.
func TestGoneDevice(t *testing.T) {
	q, _ := testQueue(t)
	d := newDevices("phone@a", "desktop@b", "tablet@c")
	d.answer = func(_ context.Context, device string, _ int) Result {
		switch device {
		case "desktop@b":
			return Result{Outcome: Gone, Reason: "status_410"}
		case "tablet@c":
			return Result{Reason: "status_503"}
		default:
			return Result{Outcome: Delivered}
		}
	}
	var gone, dead atomic.Int64
	startTargets(t, q, func(a Attempt) {
		if a.Result.Outcome == Gone {
			gone.Add(1)
		}
		if a.Dead {
			dead.Add(1)
		}
	}, d.target())
	accept(t, q, 0, 10)
	d.requireEach(t, "phone@a", 0, 10)
	require.Eventually(t, func() bool { return gone.Load() == 10 }, patience, time.Millisecond)
	requireStats(t, q, map[string]queue.TargetStats{"devices": {Parked: 10}})
	d.change(func() { d.all = d.all[:1] })
	requireStats(t, q, map[string]queue.TargetStats{"devices": {}})
	require.EqualValues(t, 20, gone.Load())
	require.Zero(t, dead.Load())
}

// While it is not known where to, a notification waits like one that failed.
func TestDestinationsFail(t *testing.T) {
	q, _ := testQueue(t)
	d := newDevices("phone@a")
	d.err = errors.New("the store cannot be read")
	var failed atomic.Int64
	startTargets(t, q, func(a Attempt) {
		if a.Result.Reason == reasonDestinations {
			assert.ErrorIs(t, a.Result.Err, d.err)
			assert.NotZero(t, a.Attempts)
			failed.Add(1)
		}
	}, d.target())
	accept(t, q, 0, 20)
	require.Eventually(t, func() bool { return failed.Load() > 40 }, patience, time.Millisecond)
	d.change(func() { d.err = nil })
	d.requireEach(t, "phone@a", 0, 20)
	requireStats(t, q, map[string]queue.TargetStats{"devices": {}})
}

// What will never have a destination is a dead letter at once, and holds up
// nothing.
func TestDestinationsRefuse(t *testing.T) {
	q, _ := testQueue(t)
	d := newDevices("phone@a")
	d.err = fmt.Errorf("unreadable: %w", ErrRefused)
	var dead, attempts atomic.Int64
	startTargets(t, q, func(a Attempt) {
		attempts.Add(1)
		if a.Dead && a.Result.Outcome == Refused && a.Result.Reason == reasonDestinations {
			dead.Add(1)
		}
	}, d.target())
	accept(t, q, 0, 20)
	requireStats(t, q, map[string]queue.TargetStats{"devices": {Dead: 20}})
	require.EqualValues(t, 20, dead.Load())
	require.EqualValues(t, 20, attempts.Load(), "none is tried again")
	d.change(func() { d.err = nil })
	accept(t, q, 20, 40)
	d.requireEach(t, "phone@a", 20, 40)
}

// A burst for one user comes to a device as a few notifications, the last one
// among them; a receiver that counts gets all of them, in their order.
func TestBurst(t *testing.T) {
	const burst = 10_000
	q, _ := testQueue(t)
	d := newDevices("phone@a", "desktop@b")
	counts := newDevices("")
	var coalesced atomic.Int64
	target := d.target()
	target.Coalesce = 200 * time.Millisecond
	startTargets(t, q, func(a Attempt) {
		if a.Coalesced {
			coalesced.Add(1)
		}
	}, target, Target{Name: "middleware", Deliverer: counts})
	acceptMailAtOnce(t, q, 7, 1, burst)
	acceptMail(t, q, 7, burst, burst+1)
	acceptMail(t, q, 8, burst+1, burst+2) // of somebody else
	counts.requireEach(t, "", 1, burst+2)
	requireStats(t, q, map[string]queue.TargetStats{"devices": {}, "middleware": {}})
	for _, device := range d.all {
		got := d.got(device)
		require.Contains(t, got, burst, "the last one")
		require.Contains(t, got, burst+1)
		require.Less(t, len(got), burst/20, "few")
		coalesced.Add(int64(len(got)))
	}
	require.EqualValues(t, 2*(burst+1), coalesced.Load(), "each is delivered or counted")
}

// A newer notification takes the place of one that failed.
func TestCoalesceAfterFailure(t *testing.T) {
	q, _ := testQueue(t)
	d := newDevices("phone@a")
	attempting, proceed := make(chan int), make(chan struct{})
	d.answer = func(_ context.Context, _ string, n int) Result {
		attempting <- n
		<-proceed
		if n == 1 {
			return Result{Reason: "status_503"}
		}
		return Result{Outcome: Delivered}
	}
	target := d.target()
	target.Coalesce = time.Millisecond
	attempts := make(chan Attempt, 10)
	startTargets(t, q, func(a Attempt) { attempts <- a }, target)
	acceptMail(t, q, 7, 1, 2)
	require.Equal(t, 1, <-attempting)
	acceptMail(t, q, 7, 2, 4)
	require.True(t, (<-attempts).Coalesced, "2, for which 3 came")
	proceed <- struct{}{}
	require.Equal(t, "status_503", (<-attempts).Result.Reason)
	require.True(t, (<-attempts).Coalesced, "1")
	require.Equal(t, 3, <-attempting)
	proceed <- struct{}{}
	last := <-attempts
	require.Equal(t, Delivered, last.Result.Outcome)
	require.Equal(t, 2, last.Attempts, "the distances go on growing")
	require.Equal(t, []int{3}, d.got("phone@a"))
	requireStats(t, q, map[string]queue.TargetStats{"devices": {}})
}

// What an attempt of one device costs is bounded by the memory of a target, not
// by what waits.
func TestDevicesOfManyUsers(t *testing.T) {
	q, _ := testQueue(t)
	d := newDevices()
	for n := range 20 {
		d.all = append(d.all, fmt.Sprintf("%d@a", n))
	}
	startTargets(t, q, nil, d.target())
	accept(t, q, 0, 300)
	for _, device := range d.all {
		d.requireEach(t, device, 0, 300)
	}
}
