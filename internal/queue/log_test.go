// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var testLimits = LogLimits{Age: time.Hour, Bytes: 1 << 20}

// follower reads a log and keeps what it says.
type follower struct {
	mu      sync.Mutex
	entries []string
	last    uint64
	states  []LogState
	current int
}

func (f *follower) follow(ctx context.Context, l *Log) {
	for ctx.Err() == nil {
		_ = l.Follow(ctx, func(s LogState) uint64 {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.states = append(f.states, s)
			return f.last
		}, func(e LogEntry) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.entries = append(f.entries, string(e.Data))
			f.last = e.Seq
		}, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.current++
		})
	}
}

// start follows until the test ends.
func (f *follower) start(t *testing.T, l *Log) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { f.follow(ctx, l) })
	t.Cleanup(wg.Wait)
	t.Cleanup(cancel)
}

func (f *follower) wait(t *testing.T, want ...string) {
	t.Helper()
	if !assert.Eventually(t, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.current > 0 && len(f.entries) >= len(want)
	}, time.Minute, time.Millisecond) {
		t.FailNow()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Equal(t, append([]string{}, want...), append([]string{}, f.entries...))
}

func TestLog(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t)
		log := q.Log("events", testLimits)
		early := new(follower)
		early.start(t, log)
		early.wait(t)
		var want []string
		for i := range 600 { // more than a reader asks for at once
			want = append(want, strconv.Itoa(i))
			require.NoError(t, log.Append(t.Context(), []byte(strconv.Itoa(i))))
		}
		late := new(follower)
		late.start(t, log)
		early.wait(t, want...)
		late.wait(t, want...)
		require.Equal(t, early.states[0].Made.UTC(), late.states[0].Made.UTC())
		require.EqualValues(t, 1, late.states[0].First)

		// Another one that shares the store, where it can be shared.
		if s.config.External != nil {
			require.NoError(t, s.open(t).Log("events", testLimits).Append(t.Context(), []byte("from afar")))
			want = append(want, "from afar")
			early.wait(t, want...)
		}
		require.NoError(t, q.Log("others", testLimits).Append(t.Context(), []byte("x")))
		require.ErrorIs(t, log.Append(t.Context(), make([]byte, 16<<20)), ErrTooLarge)
		require.NoError(t, log.Append(t.Context(), []byte("end")))
		late.wait(t, append(want, "end")...)
		require.True(t, q.isReady())
	})
}

func TestLogSurvivesRestart(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t)
		require.NoError(t, q.Log("events", testLimits).Append(t.Context(), []byte("kept")))
		require.NoError(t, q.Close())
		f := new(follower)
		f.start(t, s.open(t).Log("events", testLimits))
		f.wait(t, "kept")
	})
}

// A reader misses nothing while the store is reopened.
func TestLogOverReconcile(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	q := s.open(t)
	log := q.Log("events", testLimits)
	f := new(follower)
	f.start(t, log)
	var want []string
	for i := range 4 {
		for j := range 3 {
			text := fmt.Sprint(i, j)
			want = append(want, text)
			require.NoError(t, log.Append(t.Context(), []byte(text)))
		}
		cfg := s.config
		cfg.Embedded = &Embedded{Path: cfg.Embedded.Path, Sync: time.Duration(i+1) * time.Second}
		require.NoError(t, q.Reconcile(t.Context(), cfg))
	}
	f.wait(t, want...)
}

func TestLogIsBounded(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		log := s.open(t).Log("events", LogLimits{Age: time.Hour, Bytes: 64 << 10})
		for range 64 {
			require.NoError(t, log.Append(t.Context(), make([]byte, 4<<10)))
		}
		f := new(follower)
		f.start(t, log)
		require.Eventually(t, func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.current > 0
		}, time.Minute, time.Millisecond)
		require.LessOrEqual(t, len(f.entries), 16)
		require.EqualValues(t, 64-len(f.entries)+1, f.states[0].First, "it tells what is gone")
	})
}

// A log that somebody removed is made again, and can be told from the old one.
func TestLogIsMadeAnew(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t)
		log := q.Log("events", testLimits)
		require.NoError(t, log.Append(t.Context(), []byte("old")))
		before := new(follower)
		ctx, cancel := context.WithCancel(t.Context())
		var following sync.WaitGroup
		following.Go(func() { before.follow(ctx, log) })
		before.wait(t, "old")
		cancel()
		following.Wait()
		require.NoError(t, q.js().DeleteStream(t.Context(), log.stream))
		require.Eventually(t, func() bool { return log.Append(t.Context(), []byte("new")) == nil }, time.Minute, time.Millisecond)
		after := new(follower)
		after.start(t, log)
		after.wait(t, "new")
		require.NotEqual(t, before.states[0].Made, after.states[0].Made)
	})
}

// A log whose writes failed, and nothing else's, is brought back as well.
func TestLogAfterDiskFull(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "size=24m")
	s := embeddedStore(t)
	s.config.Embedded.Path = filepath.Join(disk, "queue")
	log := s.open(t).Log("events", LogLimits{Age: time.Hour, Bytes: 16 << 20})
	require.NoError(t, log.Append(t.Context(), []byte("x")))
	remove := ballast(t, disk, 4<<10)
	require.Eventually(t, func() bool { return log.Append(t.Context(), make([]byte, 64<<10)) != nil }, time.Minute, time.Millisecond)
	remove()
	require.Eventually(t, func() bool { return log.Append(t.Context(), []byte("y")) == nil }, time.Minute, 10*time.Millisecond)
}

func TestLogUnavailable(t *testing.T) {
	t.Parallel()
	q := embeddedStore(t).open(t)
	require.NoError(t, q.Close())
	log := q.Log("events", testLimits)
	require.ErrorIs(t, log.Append(t.Context(), nil), ErrUnavailable)
	err := log.Follow(t.Context(), func(LogState) uint64 { return 0 }, func(LogEntry) {}, func() {})
	require.ErrorIs(t, err, ErrUnavailable)
}
