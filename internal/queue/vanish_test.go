// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// answered is how long Dovecot waits for its answer.
	answered = 2 * time.Second
	// patienceOfEndpoint is how long the endpoint waits for the queue.
	patienceOfEndpoint = 1800 * time.Millisecond
	// recovered is how long it may take until a server that is well is used.
	recovered = 5 * time.Second
)

// stalls returns how long this process did not get to run since then, which a
// busy machine adds to whatever is measured.
func stalls(t *testing.T) (since func() time.Duration) {
	t.Helper()
	const step = 10 * time.Millisecond
	var (
		mu   sync.Mutex
		all  time.Duration
		woke = time.Now()
	)
	late := func() time.Duration { return max(time.Since(woke)-step, 0) }
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(step)
			mu.Lock()
			all, woke = all+late(), time.Now()
			mu.Unlock()
		}
	})
	t.Cleanup(func() { cancel(); watching.Wait() })
	return func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return all + late()
	}
}

// acceptEvery accepts one notification after the other as the endpoint does,
// and returns how long nothing was taken in. No answer may take longer than
// Dovecot waits.
func acceptEvery(t *testing.T, q *Queue, next *int, done func(gap time.Duration) bool) (longest time.Duration) {
	t.Helper()
	stalled := stalls(t)
	last, lastStalled := time.Now(), stalled()
	for end := last.Add(patience); ; {
		require.True(t, time.Now().Before(end), "it never took anything in again")
		ctx, cancel := context.WithTimeout(t.Context(), patienceOfEndpoint)
		began, before := time.Now(), stalled()
		_, err := q.Accept(ctx, numbered(*next), time.Minute)
		cancel()
		assert.Less(t, time.Since(began), answered+stalled()-before)
		if err != nil {
			require.ErrorIs(t, err, ErrUnavailable)
			time.Sleep(5 * time.Millisecond)
			continue
		}
		*next++
		time.Sleep(5 * time.Millisecond)
		longest = max(longest, time.Since(last)-(stalled()-lastStalled))
		last, lastStalled = time.Now(), stalled()
		if done(longest) {
			return longest
		}
	}
}

// The server that the queue is connected to vanishes without a word, as with
// its power or a cable: the others are used.
func TestServerVanishes(t *testing.T) {
	t.Parallel()
	servers := newNATSCluster(t, 3)
	s := storeOn(t, servers...)
	s.config.External.Replicas = 3
	q := s.open(t, "a")
	acceptSoon(t, q, numbered(0))
	n := 1
	t.Cleanup(func() {
		for _, p := range servers {
			_ = p.cmd.Process.Signal(syscall.SIGCONT)
		}
	})
	for range 3 {
		leader := ""
		require.Eventually(t, func() bool {
			stream, err := q.js().Stream(t.Context(), q.names.stream)
			if err == nil {
				leader = stream.CachedInfo().Cluster.Leader
			}
			return err == nil
		}, patience, 10*time.Millisecond)
		var at *natsProcess
		for _, p := range servers {
			if p.addr == q.nc().ConnectedAddr() {
				at = p
			}
		}
		require.NotNil(t, at)
		leads := leader == q.nc().ConnectedServerName()
		require.NoError(t, at.cmd.Process.Signal(syscall.SIGSTOP))
		stopped := time.Now()
		gap := acceptEvery(t, q, &n, func(time.Duration) bool { return time.Since(stopped) > 3*time.Second })
		t.Logf("server %s stopped (leader: %v): nothing taken in for %s", at.addr, leads, gap)
		if !leads {
			assert.Less(t, gap, recovered)
		}
		require.NoError(t, at.cmd.Process.Signal(syscall.SIGCONT))
		time.Sleep(2 * time.Second) // it finds the others again
	}
	seen := drain(t, q, "a")
	more := 0
	for i := range n {
		require.Positive(t, seen[identity(i)], "%d is missing", i)
		more += seen[identity(i)] - 1
	}
	assert.LessOrEqual(t, more, 3, "what was under way to a server that vanished may come twice")
}

// It vanishes while the queue is closed, or while somebody asks.
func TestCloseWhileServerHangs(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t)
	require.NoError(t, server.start())
	s := storeOn(t, server)
	proxy := newNATSProxy(t, server.addr)
	s.config.External.URLs = []string{proxy.url()}
	q := s.open(t, "a")
	acceptSoon(t, q, numbered(0))
	proxy.hush()
	stalled := stalls(t)
	var wg sync.WaitGroup
	for n := range 64 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patienceOfEndpoint)
			defer cancel()
			began, r := time.Now(), numbered(n+1)
			r.Body = make([]byte, 256<<10) // more than the network takes
			_, err := q.Accept(ctx, r, time.Minute)
			assert.ErrorIs(t, err, ErrUnavailable)
			assert.Less(t, time.Since(began), answered+stalled())
		})
	}
	wg.Wait()
	began, before := time.Now(), stalled()
	require.NoError(t, q.Close())
	require.Less(t, time.Since(began), 8*time.Second+stalled()-before)
	t.Logf("closed in %s", time.Since(began))
}
