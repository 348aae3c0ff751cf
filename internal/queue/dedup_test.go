// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// testDedup returns a dedup whose clock stands still.
func testDedup() (d *dedup, advance func(time.Duration)) {
	d = newDedup()
	now := time.Now()
	d.now = func() time.Time { return now }
	return d, func(d time.Duration) { now = now.Add(d) }
}

func (d *dedup) accept(n int, within time.Duration) (known bool) {
	written, other := d.find(identity(n), within)
	if written || other != nil {
		return true
	}
	d.begin(identity(n), &commit{})
	d.finish(ids(n), true)
	return false
}

func ids(n int) []notification.Identity { return []notification.Identity{identity(n)} }

func TestWindow(t *testing.T) {
	w, advance := testDedup()
	first := &commit{}
	written, other := w.find(identity(1), time.Minute)
	require.False(t, written)
	require.Nil(t, other)
	w.begin(identity(1), first)
	written, other = w.find(identity(1), time.Minute)
	require.False(t, written)
	require.Same(t, first, other, "being written")
	w.finish(ids(1), true)
	require.True(t, w.accept(1, time.Minute))
	require.False(t, w.accept(2, time.Minute), "another one")

	advance(time.Minute - 1)
	require.True(t, w.accept(1, time.Minute))
	require.False(t, w.accept(1, time.Second), "each asks for its own window")
	advance(time.Minute - 1)
	require.True(t, w.accept(1, time.Minute), "stored again, remembered again")
	advance(1)
	require.False(t, w.accept(1, time.Minute), "over")
	advance(-time.Hour)
	require.True(t, w.accept(1, time.Minute), "the clock was set back")
}

func TestWindowForgetsFailures(t *testing.T) {
	w, _ := testDedup()
	w.begin(identity(1), &commit{})
	w.finish(ids(1), false)
	require.False(t, w.accept(1, time.Minute))
	require.True(t, w.accept(1, time.Minute))
	require.Empty(t, w.pending)
}

func TestWindowGenerations(t *testing.T) {
	w, _ := testDedup()
	for n := range dedupSize {
		require.False(t, w.accept(n, time.Minute))
	}
	for n := range dedupSize { // the first of these begin a new generation
		require.False(t, w.accept(dedupSize+n, time.Minute))
		require.True(t, w.accept(n, time.Minute), "the older one is remembered")
		require.LessOrEqual(t, w.written.Len(), 2*dedupSize)
	}
	require.False(t, w.accept(1<<40, time.Minute))
	require.False(t, w.accept(0, time.Minute), "two generations ago")
	require.True(t, w.accept(dedupSize, time.Minute))
	require.LessOrEqual(t, w.written.Len(), dedupSize+2)
}

func BenchmarkWindow(b *testing.B) {
	w := newDedup()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		w.accept(n, time.Minute)
	}
}
