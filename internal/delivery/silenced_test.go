// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// silencing is a target of devices of which some want nothing.
type silencing struct {
	*devices
	reasons map[string]string // by device; not changed after the start

	mu       sync.Mutex
	reported map[string]int // by reason
}

func newSilencing(reasons map[string]string, names ...string) *silencing {
	return &silencing{devices: newDevices(names...), reasons: reasons, reported: make(map[string]int)}
}

func (s *silencing) target() Target {
	target := s.devices.target()
	target.Destinations = func(ctx context.Context, r *queue.Record) ([]Destination, error) {
		all, err := s.destinations(ctx, r)
		for i := range all {
			all[i].Silenced = s.reasons[all[i].Key]
		}
		return all, err
	}
	return target
}

func (s *silencing) observe(at Attempt) {
	if !at.Silenced {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported[at.Result.Reason]++
}

// count returns how often it was reported that a device wants nothing.
func (s *silencing) count(device string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reported[s.reasons[device]]
}

// What a device does not want is done for it: nothing is sent, and nothing is kept.
// The other devices get it.
func TestSilenced(t *testing.T) {
	q, _ := testQueue(t)
	s := newSilencing(map[string]string{"quiet@a": "quiet_hours", "picky@b": "sender"}, "quiet@a", "phone@a", "picky@b")
	startTargets(t, q, s.observe, s.target())
	accept(t, q, 0, 200)
	s.requireEach(t, "phone@a", 0, 200)
	requireStats(t, q, map[string]queue.TargetStats{"devices": {}})
	for _, device := range []string{"quiet@a", "picky@b"} {
		assert.Zero(t, s.attempts(device))
		assert.Equal(t, 200, s.count(device))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	assert.Equal(t, map[string]int{"quiet_hours": 200, "sender": 200}, s.reported)
}

// Everything is silenced, and the queue is empty.
func TestAllSilenced(t *testing.T) {
	q, _ := testQueue(t)
	s := newSilencing(map[string]string{"quiet@a": "muted"}, "quiet@a")
	startTargets(t, q, s.observe, s.target())
	accept(t, q, 0, 200)
	requireStats(t, q, map[string]queue.TargetStats{"devices": {}})
	assert.Equal(t, 200, s.count("quiet@a"))
}

// A silenced notification that is parked together with one whose service is down
// is counted once, however long that one waits.
func TestSilencedBesideAFailure(t *testing.T) {
	q, _ := testQueue(t)
	s := newSilencing(map[string]string{"quiet@down": "muted"}, "quiet@down", "phone@down")
	s.answer = func(context.Context, string, int) Result { return Result{Reason: "connect", Fault: FaultOfService} }
	startTargets(t, q, s.observe, s.target())
	accept(t, q, 0, 20)
	require.Eventually(t, func() bool { return s.attempts("phone@down") >= downAfter && s.count("quiet@down") == 20 }, patience, time.Millisecond)
	one, other := numbered(1000), numbered(1001)
	one.Destination, other.Destination = "phone@down", "quiet@down"
	require.NoError(t, q.Park(t.Context(), "devices", queue.Parked{Records: []queue.Record{one, other}, Due: time.Now(), Reason: "connect"}))
	require.Eventually(t, func() bool { return s.count("quiet@down") > 20 }, patience, time.Millisecond)
	probes := s.attempts("phone@down")
	require.Eventually(t, func() bool { return s.attempts("phone@down") > probes+1 }, patience, 10*time.Millisecond)
	assert.Equal(t, 21, s.count("quiet@down"))
}

// What is silenced does not wait for a service that is down.
func TestSilencedDoesNotWait(t *testing.T) {
	r := newRunner(newDevices().target(), Config{Logger: slog.New(slog.DiscardHandler), MaxAge: time.Hour}, 1<<20)
	j := deviceJob(1, 1, "phone", "down")
	j.record.Accepted = time.Now()
	for range downAfter {
		r.breakers.done(j, passFree, Result{Reason: "connect", Fault: FaultOfService}, time.Now())
	}
	h := &batch{jobs: []job{*j}}
	require.NotZero(t, r.mustWait(h).wait)
	h.jobs[0].silenced = "muted"
	require.Zero(t, r.mustWait(h).wait)
}

// A notification that is held back is done when it is kept, and comes again if it
// cannot be kept. What else is in its group does not.
func TestHold(t *testing.T) {
	r := newRunner(newDevices().target(), Config{Logger: slog.New(slog.DiscardHandler), MaxAge: time.Hour, Observe: func(Attempt) {}}, 1<<20)
	kept := func(hold func(done func(error))) (ended func() bool, group *fakeGroup) {
		h, group := addBatch(t, r.inflight, 1, 1, 2)
		require.NoError(t, r.inflight.finish(&h.jobs[0], true))
		h.jobs[1].silenced, h.jobs[1].hold = "muted", hold
		r.silence(&h.jobs[1])
		return func() bool { return r.inflight.count() == 0 }, group
	}
	var done func(error)
	ended, group := kept(func(d func(error)) { done = d })
	assert.False(t, ended())
	assert.Zero(t, group.acked)
	done(nil)
	done(nil)
	assert.True(t, ended())
	assert.Equal(t, 1, group.acked)

	for _, hold := range []func(func(error)){
		func(done func(error)) { done(errors.New("it cannot be kept")) },
		func(func(error)) { panic("a bug") },
	} {
		ended, group = kept(hold)
		assert.True(t, ended())
		assert.Zero(t, group.acked)
		again, held := r.inflight.redelivered(groupID{sequence: 1})
		assert.False(t, held)
		assert.Len(t, again, 1, "the one that was delivered")
	}
	r.holding.Wait()
}

// An engine that stops waits until it is kept: nothing comes again later.
func TestHoldAtTheEnd(t *testing.T) {
	q, _ := testQueue(t)
	s := newSilencing(map[string]string{"quiet@a": "muted"}, "quiet@a")
	target := s.target()
	of, holds := target.Destinations, make(chan func(error), 20)
	target.Destinations = func(ctx context.Context, r *queue.Record) ([]Destination, error) {
		all, err := of(ctx, r)
		for i := range all {
			all[i].Hold = func(done func(error)) { holds <- done }
		}
		return all, err
	}
	e := startTargets(t, q, s.observe, target)
	accept(t, q, 0, 20)
	require.Eventually(t, func() bool { return len(holds) == 20 }, patience, time.Millisecond)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		e.Stop()
	}()
	for range 20 {
		select {
		case <-stopped:
			t.Fatal("it did not wait")
		case done := <-holds:
			done(nil)
		}
	}
	<-stopped
	requireStats(t, q, map[string]queue.TargetStats{"devices": {}})
}
