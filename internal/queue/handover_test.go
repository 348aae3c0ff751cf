// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// atTheEnd returns a reader that has read all that is stored.
func atTheEnd(t *testing.T, q *Queue, target string, n int) *Reader {
	t.Helper()
	r := q.NewReader(target)
	t.Cleanup(r.Close)
	accept(t, q, numbered(n))
	require.NoError(t, next(t, r).Ack())
	return r
}

// floor is the number up to which the store has an acknowledgement of everything.
func floor(t *testing.T, q *Queue, target string) uint64 {
	t.Helper()
	c, err := q.js().Consumer(t.Context(), q.names.stream, target)
	require.NoError(t, err)
	return c.CachedInfo().AckFloor.Stream
}

// unsettled is how many groups were handed over and are not settled.
func unsettled(q *Queue, target string) int {
	q.handover.mu.Lock()
	defer q.handover.mu.Unlock()
	return len(q.handover.head(target).handed)
}

// What is committed is handed over, and the position in the store follows soon.
func TestHandover(t *testing.T) {
	t.Parallel()
	q := embeddedStore(t).open(t, "a")
	r := atTheEnd(t, q, "a", 0)
	for n := 1; n <= 20; n++ {
		accept(t, q, numbered(n))
		g := next(t, r)
		require.NotNil(t, g.handed)
		require.Equal(t, []Record{numbered(n)}, g.Records)
		require.NoError(t, g.Ack())
	}
	require.Eventually(t, func() bool { return floor(t, q, "a") == 21 }, patience, time.Millisecond)
	require.Zero(t, unsettled(q, "a"))
}

// A target that falls behind reads from the store, in order, until it has caught up.
func TestHandoverToOneThatFallsBehind(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	s.config.Embedded.Sync = time.Minute
	q := s.open(t, "a")
	r := atTheEnd(t, q, "a", 0)
	const backlog = maxCommittedGroups + 100
	for n := 1; n <= backlog; n++ {
		accept(t, q, numbered(n))
	}
	for n := 1; n <= backlog; n++ {
		g := next(t, r)
		require.Equal(t, n, numberOf(g.Records[0]))
		require.NoError(t, g.Ack())
	}
	require.Eventually(t, func() bool { return floor(t, q, "a") == backlog+1 }, patience, time.Millisecond)
	accept(t, q, numbered(backlog+1))
	require.NotNil(t, next(t, r).handed)
}

// What waits when the queue is opened is read from the store, without a pause.
func TestHandoverAfterStart(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	q := s.open(t, "a")
	for n := range 20 {
		accept(t, q, numbered(n))
	}
	require.NoError(t, q.Close())
	q = s.open(t, "a")
	r := q.NewReader("a")
	defer r.Close()
	began := time.Now()
	for n := range 20 {
		g := next(t, r)
		require.Equal(t, n, numberOf(g.Records[0]))
		require.NoError(t, g.Ack())
	}
	require.Less(t, time.Since(began), 5*handoverWait, "it has waited for each")
	accept(t, q, numbered(20))
	require.NotNil(t, next(t, r).handed)
}

// Large groups are not kept for long.
func TestHandoverIsBounded(t *testing.T) {
	t.Parallel()
	q := embeddedStore(t).open(t, "a")
	r := atTheEnd(t, q, "a", 0)
	for n := 1; n <= 5; n++ {
		accept(t, q, Record{ID: identity(n), Accepted: time.UnixMilli(0), Body: make([]byte, maxCommittedBytes/2)})
		require.LessOrEqual(t, q.handover.size, maxCommittedBytes+1<<10)
	}
	for n := 1; n <= 5; n++ {
		require.Equal(t, identity(n), next(t, r).Records[0].ID)
	}
}

// What was handed over is in progress as long as it takes; what is returned comes
// again at once, to any reader.
func TestHandedOverAndReturned(t *testing.T) {
	t.Parallel()
	q := embeddedStore(t).open(t, "a")
	r := atTheEnd(t, q, "a", 0)
	accept(t, q, numbered(1))
	slow := next(t, r)
	require.NotNil(t, slow.handed)
	accept(t, q, numbered(2))
	require.NoError(t, next(t, r).Ack()) // settling it gives out the first one as well
	require.Eventually(t, func() bool { return q.handover.replyOf(slow.handed) != "" }, patience, time.Millisecond)
	require.NoError(t, slow.InProgress())
	require.NoError(t, slow.Ack())
	require.Equal(t, uint64(3), floor(t, q, "a"))

	accept(t, q, numbered(3), numbered(4))
	back := next(t, r)
	require.NotNil(t, back.handed)
	require.NoError(t, next(t, r).Ack())
	other := q.NewReader("a")
	defer other.Close()
	came := make(chan *Group)
	go func() { came <- next(t, other) }()
	require.NoError(t, back.Nak())
	require.ErrorIs(t, back.Ack(), errForgotten)
	again := <-came
	require.Equal(t, 3, numberOf(again.Records[0]))
	require.NoError(t, again.Ack())
	require.Eventually(t, func() bool { return floor(t, q, "a") == 5 }, patience, time.Millisecond)
}

// A store that is opened again gives out what was handed over before, and it is
// recognized.
func TestHandoverOverRestart(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	q := s.open(t, "a")
	r := atTheEnd(t, q, "a", 0)
	for n := 1; n <= 50; n++ {
		accept(t, q, numbered(n))
		require.NoError(t, next(t, r).Ack())
		if n%10 == 0 {
			cfg := s.config
			cfg.Embedded = &Embedded{Path: s.config.Embedded.Path, Sync: time.Duration(n%20) * time.Second}
			require.NoError(t, q.Reconcile(t.Context(), cfg))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	groups, err := r.Take(ctx, 10, 1<<30)
	require.ErrorIs(t, err, ErrNoMore, "%v", groups)
	require.Eventually(t, func() bool { return floor(t, q, "a") == 51 }, patience, time.Millisecond)
}

// The number of a group that was handed over may be given to another one, which is
// not taken for it.
func TestHandoverWhenNumbersBeginAgain(t *testing.T) {
	t.Parallel()
	q := embeddedStore(t).open(t, "a")
	r := atTheEnd(t, q, "a", 0)
	accept(t, q, numbered(1), numbered(2), numbered(3))
	for range 3 {
		require.NotNil(t, next(t, r).handed)
	}
	q.handover.mu.Lock()
	for _, g := range q.handover.head("a").handed {
		g.hash++ // what the store has is another one
	}
	q.handover.mu.Unlock()
	q.handover.reset()
	for n := 1; n <= 3; n++ {
		g := next(t, r)
		require.Nil(t, g.handed)
		require.Equal(t, n, numberOf(g.Records[0]))
		require.NoError(t, g.Ack())
	}
}

// A write that was not confirmed, and is stored anyway, is read from the
// store.
func TestHandoverAfterALostAnswer(t *testing.T) {
	t.Parallel()
	q := embeddedStore(t).open(t, "a")
	r := atTheEnd(t, q, "a", 0)
	_, err := q.js().Publish(t.Context(), q.names.in+".1", appendRecord([]byte{groupVersion}, new(numbered(1))))
	require.NoError(t, err)
	accept(t, q, numbered(2))
	for n := 1; n <= 2; n++ {
		g := next(t, r)
		require.Equal(t, n, numberOf(g.Records[0]))
		require.NoError(t, g.Ack())
	}
	_, err = q.js().Publish(t.Context(), q.names.in+".1", appendRecord([]byte{groupVersion}, new(numbered(3))))
	require.NoError(t, err)
	q.handover.reset() // as after a write that failed
	require.Equal(t, 3, numberOf(next(t, r).Records[0]))
}

// Whatever several readers take, return, and leave to others, at any pace: each
// notification is acknowledged once, and after that it does not come again.
func TestHandoverToSeveralReaders(t *testing.T) {
	t.Parallel()
	const all = 3000
	s := embeddedStore(t)
	s.config.Embedded.Sync = time.Minute
	q := s.open(t, "a")
	var (
		done   atomic.Int64
		acked  [all]atomic.Int32
		failed atomic.Int32
		wg     sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				readSome(ctx, q, rand.IntN(300), func(g *Group) error {
					if rand.IntN(20) == 0 {
						return g.Nak()
					}
					if err := g.Ack(); err != nil {
						failed.Add(1) // it comes again
						return nil
					}
					for _, r := range g.Records {
						acked[numberOf(r)].Add(1)
						done.Add(1)
					}
					return nil
				})
			}
		})
	}
	acceptRange(t, q, 0, all)
	assert.Eventually(t, func() bool { return done.Load() >= all }, patience, time.Millisecond)
	requireStats(t, q, 0, map[string]TargetStats{"a": {}})
	cancel()
	wg.Wait()
	require.Zero(t, failed.Load())
	for n := range acked {
		require.Equal(t, int32(1), acked[n].Load(), "number %d", n)
	}
}

// readSome reads so many groups with a reader of its own.
func readSome(ctx context.Context, q *Queue, groups int, take func(g *Group) error) {
	r := q.NewReader("a")
	defer r.Close()
	for groups > 0 && ctx.Err() == nil {
		got, err := r.Take(ctx, 8, 1<<30)
		if errors.Is(err, ErrNoMore) {
			return
		}
		for _, g := range got {
			groups--
			_ = take(g)
		}
	}
}
