// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// More are parked than the store gives out, and none of them is due: one that
// is due does not wait for them. None is lost, none is attempted before it is
// due, and each keeps its number of attempts.
func TestCompaction(t *testing.T) {
	const parked = 11_000
	withSchedule(t, time.Hour)
	_, cfg := testQueue(t)
	cfg.Embedded = &queue.Embedded{Path: t.TempDir(), Sync: time.Hour} // nobody waits for the disk
	q := openQueue(t, cfg)
	target := newScripted(takes)
	start(t, q, map[string]*scripted{"a": target}).Stop()
	due := time.Now().Add(time.Hour)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for n := i; n < parked; n += 64 {
				r := numbered(n)
				r.Attempts = 1 + n%5
				p := queue.Parked{Records: []queue.Record{r}, Due: due.Add(time.Duration(n) * time.Millisecond), Reason: "status_503"}
				assert.NoError(t, q.Park(context.Background(), "a", p))
			}
		})
	}
	wg.Wait()
	require.NoError(t, q.Park(t.Context(), "a", queue.Parked{Records: []queue.Record{numbered(parked)}, Due: time.Now()}))
	e := start(t, q, map[string]*scripted{"a": target})
	target.requireEach(t, parked, parked+1)
	requireStats(t, q, map[string]queue.TargetStats{"a": {Parked: parked}})
	e.Stop()

	// All of them are due, by another clock.
	attempts := make([]int, parked)
	var mu sync.Mutex
	e, err := New(Config{Queue: q, Targets: targetsOf(map[string]*scripted{"a": target}), MaxAge: 24 * time.Hour, Logger: cfg.Logger, Observe: func(a Attempt) {
		mu.Lock()
		defer mu.Unlock()
		attempts[number(a.ID)] = a.Attempts
	}})
	require.NoError(t, err)
	e.runners[0].now = func() time.Time { return time.Now().Add(90 * time.Minute) }
	require.NoError(t, e.Start(t.Context()))
	t.Cleanup(e.Stop)
	target.requireEach(t, 0, parked+1)
	requireStats(t, q, map[string]queue.TargetStats{"a": {}})
	mu.Lock()
	defer mu.Unlock()
	for n, got := range attempts {
		require.Equal(t, 2+n%5, got, n)
	}
}
