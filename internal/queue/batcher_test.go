// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// joinAll joins n records that are not duplicates, and fails if one has to wait.
func joinAll(t *testing.T, g *batcher, n, size int) (commits []*commit) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range n {
		r := Record{ID: identity(i), Body: make([]byte, size)}
		c, duplicate, err := g.add(ctx, &r, 0, maxGroupBytes)
		require.NoError(t, err)
		require.False(t, duplicate)
		commits = append(commits, c)
	}
	return commits
}

// What comes while nothing is written makes as few groups as may be.
func TestGatheringBounds(t *testing.T) {
	g := newBatcher(nil)
	commits := joinAll(t, g, maxGroupRecords+1, 1)
	require.Same(t, commits[0], commits[maxGroupRecords-1])
	require.NotSame(t, commits[0], commits[maxGroupRecords])
	require.Same(t, commits[0], g.take(), "the oldest first")
	require.Equal(t, maxGroupRecords, commits[0].records)

	g = newBatcher(nil)
	commits = joinAll(t, g, 3, maxGroupBytes/2)
	require.NotSame(t, commits[0], commits[1], "with what comes with each, two are too large")
	require.Len(t, joinAll(t, g, 1, 2*maxGroupBytes), 1, "one alone may be larger")
}

// Who finds no room waits until a group is taken, as long as his context lasts
// and the batcher is open.
func TestGatheringFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newBatcher(nil)
		joinAll(t, g, maxWaitingGroups, maxGroupBytes)
		join := func(ctx context.Context) <-chan error {
			joined := make(chan error, 1)
			go func() {
				r := Record{Body: make([]byte, maxGroupBytes)}
				_, _, err := g.add(ctx, &r, 0, maxGroupBytes)
				joined <- err
			}()
			return joined
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, <-join(short), ErrUnavailable)

		first, second := join(t.Context()), join(t.Context())
		synctest.Wait()
		require.NotNil(t, g.take())
		synctest.Wait()
		require.Len(t, g.groups, maxWaitingGroups, "one found room")
		require.True(t, g.close())
		require.False(t, g.close())
		require.ErrorIs(t, errors.Join(<-first, <-second), ErrClosed)
		for range maxWaitingGroups {
			require.NotNil(t, g.take(), "what is in is written")
		}
		require.Nil(t, g.take())
	})
}

// Of many who come at once with the same, one writes, and all learn of it.
func TestGatheringConcurrently(t *testing.T) {
	const senders, records = 8, 1000
	g := newBatcher(nil)
	var (
		senderGroup, writer sync.WaitGroup
		first               atomic.Int64
		stored              int
	)
	writer.Go(func() {
		for c := g.take(); c != nil; c = g.take() {
			stored += c.records
			g.finish(c, time.Millisecond, nil)
		}
	})
	for range senders {
		senderGroup.Go(func() {
			for n := range records {
				r := Record{ID: identity(n)}
				c, duplicate, err := g.add(t.Context(), &r, time.Minute, maxGroupBytes)
				if err == nil && c != nil {
					err = c.wait(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
				if !duplicate {
					first.Add(1)
				}
			}
		})
	}
	senderGroup.Wait()
	g.close()
	writer.Wait()
	require.EqualValues(t, records, first.Load())
	require.Equal(t, records, stored)
	require.Empty(t, g.dedup.pending)
}

// What could not be stored is new when it comes again; everybody who waited for
// it learns why.
func TestGatheringFails(t *testing.T) {
	g := newBatcher(nil)
	r := Record{ID: identity(1)}
	c, duplicate, err := g.add(t.Context(), &r, time.Minute, maxGroupBytes)
	require.NoError(t, err)
	require.False(t, duplicate)
	again, duplicate, err := g.add(t.Context(), &r, time.Minute, maxGroupBytes)
	require.NoError(t, err)
	require.True(t, duplicate)
	require.Same(t, c, again)
	require.Same(t, c, g.take())
	g.finish(c, time.Millisecond, ErrFull)
	require.ErrorIs(t, c.wait(t.Context()), ErrFull)
	require.ErrorIs(t, again.wait(t.Context()), ErrFull)
	again, duplicate, err = g.add(t.Context(), &r, time.Minute, maxGroupBytes)
	require.NoError(t, err)
	require.False(t, duplicate)
	require.NotSame(t, c, again)
}

// closedLoop has senders that each send one record after the other, the next one
// a moment after the answer, to a disk where each write takes as long as that. It
// returns how many records a write has on average.
func closedLoop(t *testing.T, senders int, write, moment time.Duration) (together float64) {
	t.Helper()
	const rounds = 200
	g := newBatcher(nil)
	var wg, writer sync.WaitGroup
	written := 0
	writer.Go(func() {
		for c := g.take(); c != nil; c = g.take() {
			time.Sleep(write)
			written++
			g.finish(c, write, nil)
		}
	})
	for n := range senders {
		wg.Go(func() {
			for range rounds {
				time.Sleep(moment + time.Duration(n)*moment/time.Duration(senders))
				c, _, err := g.add(t.Context(), &Record{}, 0, maxGroupBytes)
				if !assert.NoError(t, err) || !assert.NoError(t, c.wait(t.Context())) {
					return
				}
			}
		})
	}
	wg.Wait()
	g.close()
	writer.Wait()
	return float64(senders*rounds) / float64(written)
}

// Where writes are slow, each has the records of everybody who is sending, and not
// of one half. A lone sender does not wait for others.
func TestGroupsGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.Greater(t, closedLoop(t, 32, 8*time.Millisecond, time.Millisecond/2), 31.)
	})
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		require.InDelta(t, 1, closedLoop(t, 1, 8*time.Millisecond, time.Millisecond/2), 0)
		require.Equal(t, 200*8500*time.Microsecond, time.Since(start))
	})
	// Nobody is waited for longer than a quarter of a write.
	synctest.Test(t, func(t *testing.T) {
		g := newBatcher(nil)
		joinAll(t, g, 2, 1)
		c := g.take()
		g.finish(c, 40*time.Millisecond, nil)
		joinAll(t, g, 1, 1)
		start := time.Now()
		c = g.take()
		require.Equal(t, 1, c.records)
		require.Equal(t, g.usual/4, time.Since(start))

		joinAll(t, g, 1, 1)
		g.finish(c, time.Hour, nil) // the disk did not answer
		start = time.Now()
		require.NotNil(t, g.take())
		require.Equal(t, maxGather, time.Since(start))
	})
}
