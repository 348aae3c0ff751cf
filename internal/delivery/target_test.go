// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/testlog"
)

// patience is how long a test waits for what must come: on a busy machine what
// got lost between reader and store comes again after AckWait.
const patience = 3 * queue.AckWait

// scripted is a target that answers what the test tells it to, and counts what
// it took.
type scripted struct {
	mu        sync.Mutex
	answer    func(ctx context.Context, n int) Result // may be exchanged
	attempts  map[int]int
	delivered map[int]int
}

func newScripted(answer func(ctx context.Context, n int) Result) *scripted {
	return &scripted{answer: answer, attempts: make(map[int]int), delivered: make(map[int]int)}
}

func takes(context.Context, int) Result { return Result{Outcome: Delivered} }

// answers gives the same answer always.
func answers(o Outcome) func(context.Context, int) Result {
	return func(context.Context, int) Result { return Result{Outcome: o, Reason: "scripted"} }
}

func (s *scripted) Deliver(ctx context.Context, r *queue.Record) Result {
	n := number(r.ID)
	s.mu.Lock()
	answer := s.answer
	s.attempts[n]++
	s.mu.Unlock()
	result := answer(ctx, n)
	if string(r.Body) != fmt.Sprint(n) {
		result = Result{Reason: "wrong body"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if result.Outcome == Delivered {
		s.delivered[n]++
	}
	return result
}

func (s *scripted) become(answer func(context.Context, int) Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *scripted) got() map[int]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.delivered)
}

func (s *scripted) tried() (all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.attempts {
		all += n
	}
	return all
}

// requireEach waits until exactly from..to-1 were delivered, once each. What was
// on its way to a reader when the store went away comes again after AckWait.
func (s *scripted) requireEach(t *testing.T, from, to int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(s.got()) >= to-from }, patience, 5*time.Millisecond,
		"delivered of %d", to-from)
	got := s.got()
	require.Len(t, got, to-from)
	for n := from; n < to; n++ {
		require.Equal(t, 1, got[n], "%d", n)
	}
}

func testQueue(t *testing.T) (*queue.Queue, queue.Config) {
	t.Helper()
	cfg := queue.Config{Embedded: &queue.Embedded{Path: t.TempDir()}, MaxBytes: 16 << 20, MaxAge: time.Hour, Logger: testlog.New(t)}
	return openQueue(t, cfg), cfg
}

func openQueue(t *testing.T, cfg queue.Config) *queue.Queue {
	t.Helper()
	q, err := queue.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func targetsOf(targets map[string]*scripted) (all []Target) {
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		all = append(all, Target{Name: name, Deliverer: targets[name], Timeout: patience})
	}
	return all
}

// start begins to deliver; change may alter the configuration.
func start(t *testing.T, q *queue.Queue, targets map[string]*scripted, change ...func(*Config)) *Engine {
	t.Helper()
	cfg := Config{Queue: q, Targets: targetsOf(targets), MaxAge: time.Hour, Logger: testlog.New(t)}
	for _, f := range change {
		f(&cfg)
	}
	e, err := New(cfg)
	require.NoError(t, err)
	require.NoError(t, e.Start(t.Context()))
	t.Cleanup(e.Stop)
	return e
}

// probesSince is how many single attempts a breaker makes at most in the time
// since then, however long a busy machine makes it.
func probesSince(then time.Time) int {
	return int(time.Since(then) / (probes[0] * 8 / 10))
}

func numbered(n int) queue.Record {
	r := queue.Record{Accepted: time.Now(), Body: fmt.Append(nil, n)}
	binary.BigEndian.PutUint64(r.ID[:], uint64(n))
	return r
}

// number is that of a numbered record.
func number(id notification.Identity) int { return int(binary.BigEndian.Uint64(id[:])) }

// accept takes from..to-1 in, many at once.
func accept(t *testing.T, q *queue.Queue, from, to int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := from + i; n < to; n += 16 {
				_, err := q.Accept(context.Background(), numbered(n), time.Minute)
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
}

// requireStats waits until the queue holds that.
func requireStats(t *testing.T, q *queue.Queue, want map[string]queue.TargetStats) {
	t.Helper()
	var got queue.Stats
	require.Eventually(t, func() bool {
		var err error
		got, err = q.Stats(t.Context(), slices.Collect(maps.Keys(want)))
		return err == nil && maps.Equal(got.Targets, want)
	}, patience, 10*time.Millisecond, "%+v", &got)
}
