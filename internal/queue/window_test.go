// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testWindow is a window whose clock stands still.
func testWindow() (w *window, advance func(time.Duration)) {
	w = newWindow()
	now := time.Now()
	w.now = func() time.Time { return now }
	return w, func(d time.Duration) { now = now.Add(d) }
}

func (w *window) accept(n int, d time.Duration) (known bool) {
	done, other := w.claim(identity(n), d, &commit{})
	if done || other != nil {
		return true
	}
	w.settle(identity(n), true)
	return false
}

func TestWindow(t *testing.T) {
	w, advance := testWindow()
	first := &commit{}
	done, other := w.claim(identity(1), time.Minute, first)
	require.False(t, done)
	require.Nil(t, other)
	done, other = w.claim(identity(1), time.Minute, &commit{})
	require.False(t, done)
	require.Same(t, first, other, "being written")
	w.settle(identity(1), true)
	require.True(t, w.accept(1, time.Minute))
	require.False(t, w.accept(2, time.Minute), "another one")

	advance(time.Minute - 1)
	require.True(t, w.accept(1, time.Minute))
	require.False(t, w.accept(1, time.Second), "each asks for its own window")
	advance(time.Minute - 1)
	require.True(t, w.accept(1, time.Minute), "stored anew, remembered anew")
	advance(1)
	require.False(t, w.accept(1, time.Minute), "over")
	advance(-time.Hour)
	require.True(t, w.accept(1, time.Minute), "the clock was set back")
}

func TestWindowForgetsFailures(t *testing.T) {
	w, _ := testWindow()
	_, _ = w.claim(identity(1), time.Minute, &commit{})
	w.settle(identity(1), false)
	require.False(t, w.accept(1, time.Minute))
	require.True(t, w.accept(1, time.Minute))
	require.Empty(t, w.pending)
}

func TestWindowGenerations(t *testing.T) {
	w, _ := testWindow()
	for n := range windowSize {
		require.False(t, w.accept(n, time.Minute))
	}
	for n := range windowSize { // the first of these begin a new generation
		require.False(t, w.accept(windowSize+n, time.Minute))
		require.True(t, w.accept(n, time.Minute), "the older one is remembered")
		require.LessOrEqual(t, len(w.young)+len(w.old), 2*windowSize)
	}
	require.False(t, w.accept(1<<40, time.Minute))
	require.False(t, w.accept(0, time.Minute), "two generations ago")
	require.True(t, w.accept(windowSize, time.Minute))
	require.LessOrEqual(t, len(w.young)+len(w.old), windowSize+2)
}

// Of many who come at once with the same, one writes.
func TestWindowConcurrently(t *testing.T) {
	w, _ := testWindow()
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		writes = make(map[int]int)
	)
	for range 8 {
		wg.Go(func() {
			for n := range 1000 {
				if !w.accept(n, time.Minute) {
					mu.Lock()
					writes[n]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for n := range 1000 {
		require.Equal(t, 1, writes[n])
	}
}

func BenchmarkWindow(b *testing.B) {
	w := newWindow()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		w.accept(n, time.Minute)
	}
}
