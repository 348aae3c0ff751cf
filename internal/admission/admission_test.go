// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func source(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }

var limits = Limits{Concurrent: 2, Reserved: 1, Waiting: 4, PerSource: 3, MaxWait: time.Second}

// acquire asks in the background; the answer comes later.
func acquire(r *Room, from netip.Addr, rank Rank) <-chan bool {
	answer := make(chan bool, 1)
	go func() { answer <- r.Acquire(context.Background(), from, rank) }()
	synctest.Wait()
	return answer
}

func requireEmpty(t *testing.T, r *Room) {
	t.Helper()
	inside, waiting := r.Present()
	require.Zero(t, inside)
	require.Zero(t, waiting)
	require.Empty(t, r.sources)
}

func TestRanks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(limits)
		require.True(t, <-acquire(r, source(1), Suspect))
		require.True(t, <-acquire(r, source(2), Suspect))
		suspect := acquire(r, source(3), Suspect)
		fresh, second := acquire(r, source(4), Fresh), acquire(r, source(5), Fresh)
		require.True(t, <-acquire(r, source(6), Known), "a place is kept")
		known := acquire(r, source(7), Known)

		r.Release(source(6))
		require.True(t, <-known, "the kept place is nobody else's")
		r.Release(source(1))
		synctest.Wait()
		require.Empty(t, fresh, "two are inside still")
		r.Release(source(2))
		require.True(t, <-fresh)
		r.Release(source(4))
		require.True(t, <-second)
		r.Release(source(5))
		require.True(t, <-suspect)
		r.Release(source(3))
		r.Release(source(7))
		requireEmpty(t, r)
	})
}

func TestLineIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(limits)
		for i := range limits.Concurrent {
			require.True(t, <-acquire(r, source(i), Fresh))
		}
		var line []<-chan bool
		for i := range limits.Waiting {
			line = append(line, acquire(r, source(10+i), Suspect))
		}
		require.False(t, <-acquire(r, source(20), Suspect), "the line is full")
		fresh := acquire(r, source(21), Fresh)
		require.False(t, <-line[3], "the last of the lowest rank makes room")
		start := time.Now()
		for _, waiting := range line[:3] {
			require.False(t, <-waiting)
		}
		require.False(t, <-fresh)
		require.Equal(t, limits.MaxWait, time.Since(start))
		for i := range limits.Concurrent {
			r.Release(source(i))
		}
		requireEmpty(t, r)
	})
}

func TestSourceIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bounded := limits
		bounded.ConcurrentPerSource = 1
		r := New(bounded)
		require.True(t, <-acquire(r, source(1), Known))
		mine := []<-chan bool{acquire(r, source(1), Known), acquire(r, source(1), Known)}
		require.False(t, <-acquire(r, source(1), Known))
		require.True(t, <-acquire(r, source(2), Suspect), "others are not concerned")
		for _, waiting := range mine {
			r.Release(source(1))
			require.True(t, <-waiting)
		}
		r.Release(source(1))
		r.Release(source(2))
		requireEmpty(t, r)
	})
}

func TestEndOfTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Limits{Concurrent: 1, Waiting: 1, PerSource: 2, MaxWait: time.Hour})
		require.True(t, r.Acquire(t.Context(), source(1), Fresh))
		ctx, cancel := context.WithCancel(t.Context())
		answer := make(chan bool)
		go func() { answer <- r.Acquire(ctx, source(1), Fresh) }()
		synctest.Wait()
		cancel()
		require.False(t, <-answer)
		r.Release(source(1))
		requireEmpty(t, r)
	})
}

// Whatever comes and goes, no more are inside than may be, and nothing is left.
func TestManyAtOnce(t *testing.T) {
	r := New(Limits{Concurrent: 2, Reserved: 1, ConcurrentPerSource: 2, Waiting: 8, PerSource: 4, MaxWait: 2 * time.Millisecond})
	var inside, most, admitted atomic.Int64
	var wg sync.WaitGroup
	for n := range 64 {
		wg.Go(func() {
			for i := range 50 {
				from := source(n % 8)
				if !r.Acquire(t.Context(), from, Rank((n+i)%3)) {
					continue
				}
				admitted.Add(1)
				now := inside.Add(1)
				for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
				}
				time.Sleep(time.Duration(i%3) * 100 * time.Microsecond)
				inside.Add(-1)
				r.Release(from)
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, most.Load(), int64(3))
	require.Positive(t, admitted.Load())
	requireEmpty(t, r)
}
