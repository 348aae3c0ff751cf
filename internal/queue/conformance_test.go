// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAcceptThenRead(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		for n := range 20 { // one after the other: a group each
			accept(t, q, numbered(n))
		}
		requireStats(t, q, 20, map[string]TargetStats{"a": {Waiting: 20}})
		r := q.NewReader("a")
		for n := range 20 {
			g := next(t, r)
			require.Equal(t, []Record{numbered(n)}, g.Records, "in order, and nothing changed")
			require.NoError(t, g.Ack())
		}
		requireStats(t, q, 0, map[string]TargetStats{"a": {}})
		_, err := take(t.Context(), r)
		require.ErrorIs(t, err, ErrNoMore)
	})
}

func TestGroupCommit(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		var (
			mu     sync.Mutex
			writes []int
		)
		s.config.Observe = func(notifications int, took time.Duration, err error) {
			mu.Lock()
			defer mu.Unlock()
			writes = append(writes, notifications)
			assert.Positive(t, took)
			assert.NoError(t, err)
		}
		q := s.open(t, "a")
		const senders = 500
		acceptTogether(t, q, senders, numbered)
		mu.Lock()
		total := 0
		for _, n := range writes {
			total += n
		}
		assert.Equal(t, senders, total)
		assert.LessOrEqual(t, len(writes), 10, "%v", writes) // two, but for those who just have not submitted
		mu.Unlock()
		requireRange(t, drain(t, q, "a"), 0, senders)
	})
}

// hold keeps everything that is submitted from being written.
func hold(t *testing.T, q *Queue) (release func()) {
	t.Helper()
	q.change.Lock()
	release = sync.OnceFunc(q.change.Unlock)
	t.Cleanup(release)
	return release
}

// acceptTogether accepts n records that all come before the first is written.
func acceptTogether(t *testing.T, q *Queue, n int, record func(int) Record) {
	t.Helper()
	release := hold(t, q)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			_, err := q.Accept(context.Background(), record(i), time.Minute)
			assert.NoError(t, err)
		})
	}
	require.Eventually(t, func() bool {
		q.batcher.mu.Lock()
		defer q.batcher.mu.Unlock()
		return len(q.batcher.dedup.pending) == n
	}, patience, time.Millisecond)
	release()
	wg.Wait()
}

func TestBodiesToTheByte(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	bytes := func(n int) []byte {
		b := make([]byte, n)
		_, _ = random.Read(b)
		return b
	}
	// The largest is more than a NATS server takes unless told otherwise.
	bodies := [][]byte{{}, {0}, []byte("\r\n\r\n"), bytes(127), bytes(128), bytes(maxGroupBytes - 40), bytes(maxGroupBytes + 1), bytes(1<<20 - 2<<10)}
	eachStore(t, func(t *testing.T, s *testStore) {
		bodies := bodies
		if s.config.Embedded != nil {
			bodies = append(bodies, bytes(1<<20), bytes(MaxBody))
		}
		q := s.open(t, "a")
		for n, b := range bodies {
			accept(t, q, Record{ID: identity(n), Accepted: time.UnixMilli(0), Body: b})
		}
		r := q.NewReader("a")
		for n := range bodies {
			g := next(t, r)
			require.Len(t, g.Records, 1)
			require.Equal(t, identity(n), g.Records[0].ID)
			require.True(t, string(bodies[n]) == string(g.Records[0].Body), "body of %d bytes", len(bodies[n]))
			require.NoError(t, g.Ack())
		}
		_, err := q.Accept(t.Context(), Record{Body: make([]byte, embeddedMaxPayload)}, 0)
		require.ErrorIs(t, err, ErrTooLarge)
		requireStats(t, q, 0, map[string]TargetStats{"a": {}})
	})
}

func TestMixedSizesInOneGroup(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		acceptTogether(t, q, 40, func(n int) Record { // several groups
			r := numbered(n)
			r.Body = body(n % 4 * 50 << 10)
			return r
		})
		requireRange(t, drain(t, q, "a"), 0, 40)
	})
}

func TestDuplicates(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		accept(t, q, numbered(0))
		duplicate, err := q.Accept(t.Context(), numbered(0), time.Minute)
		require.NoError(t, err)
		require.True(t, duplicate, "within the window")
		duplicate, err = q.Accept(t.Context(), numbered(0), 0)
		require.NoError(t, err)
		require.False(t, duplicate, "asked not to look")

		// Many copies at once: one is stored, and all know when it is.
		release := hold(t, q)
		var (
			wg         sync.WaitGroup
			duplicates = make(chan bool, 10)
		)
		for range cap(duplicates) {
			wg.Go(func() {
				duplicate, err := q.Accept(context.Background(), numbered(1), time.Minute)
				assert.NoError(t, err)
				duplicates <- duplicate
			})
		}
		select {
		case <-duplicates:
			t.Error("told before it was stored")
		case <-time.After(50 * time.Millisecond):
		}
		release()
		wg.Wait()
		first := 0
		for range cap(duplicates) {
			if !<-duplicates {
				first++
			}
		}
		require.Equal(t, 1, first)

		seen := drain(t, q, "a")
		require.Equal(t, 2, seen[identity(0)])
		require.Equal(t, 1, seen[identity(1)])
	})
}

// What could not be stored is new when it comes again, for everybody who
// waited for it.
func TestDuplicateOfFailure(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		q.change.Lock()     // repairLoop cannot check
		q.available.clear() // as after a failed write
		q.available.mu.Lock()
		q.available.since = time.Now().Add(-holdAtFirst) // and nobody waits for it any more
		q.available.mu.Unlock()
		_, err := q.Accept(t.Context(), numbered(0), time.Minute)
		q.change.Unlock()
		require.ErrorIs(t, err, ErrUnavailable)
		require.Eventually(t, func() bool {
			duplicate, err := q.Accept(t.Context(), numbered(0), time.Minute)
			require.False(t, duplicate)
			return err == nil
		}, patience, 10*time.Millisecond)
		requireRange(t, drain(t, q, "a"), 0, 1)
	})
}

func TestTargetsAtTheirOwnPace(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "fast", "slow")
		for n := range 10 {
			accept(t, q, numbered(n))
		}
		requireRange(t, drain(t, q, "fast"), 0, 10)
		requireStats(t, q, 10, map[string]TargetStats{"fast": {}, "slow": {Waiting: 10}})
		slow := q.NewReader("slow")
		for range 4 {
			require.NoError(t, next(t, slow).Ack())
		}
		requireStats(t, q, 6, map[string]TargetStats{"fast": {}, "slow": {Waiting: 6}})
		accept(t, q, numbered(10))
		requireStats(t, q, 7, map[string]TargetStats{"fast": {Waiting: 1}, "slow": {Waiting: 7}})
		requireRange(t, drain(t, q, "slow"), 4, 11)
		requireRange(t, drain(t, q, "fast"), 10, 11)
		requireStats(t, q, 0, map[string]TargetStats{"fast": {}, "slow": {}})
	})
}

func TestUnsettledComesAgain(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		accept(t, q, numbered(0), numbered(1))

		// A reader that returns what it took.
		first := q.NewReader("a")
		g := next(t, first)
		require.NoError(t, g.Nak())
		second := q.NewReader("a")
		g = next(t, second)
		if g.Records[0].ID != identity(0) { // redelivery and news come in any order
			require.NoError(t, g.Nak())
			g = next(t, second)
		}
		require.Equal(t, identity(0), g.Records[0].ID)
		require.NoError(t, g.Ack())

		// A reader that went away without a word.
		gone := impatient(t, q.NewReader("a"))
		g = next(t, gone)
		require.Equal(t, identity(1), g.Records[0].ID)
		require.NoError(t, g.Ack())
		accept(t, q, numbered(2))
		next(t, gone)
		g = next(t, impatient(t, q.NewReader("a")))
		require.Equal(t, identity(2), g.Records[0].ID)
		require.NoError(t, g.Ack())
		requireStats(t, q, 0, map[string]TargetStats{"a": {}})
	})
}

func TestKeepHolds(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		accept(t, q, numbered(0))
		require.NoError(t, q.Park(t.Context(), "a", Parked{Records: []Record{numbered(1)}, Due: time.Now()}))
		r, parked := impatient(t, q.NewReader("a")), impatient(t, q.NewParkedReader("a"))
		g, p := next(t, r), next(t, parked)
		for range 10 { // ten times 30 ms are three times what they may be held
			time.Sleep(30 * time.Millisecond)
			require.NoError(t, g.InProgress())
			require.NoError(t, p.InProgress())
		}
		_, err := take(t.Context(), r)
		_ = err // nothing, or taken again only after we stopped to keep it
		require.NoError(t, p.Ack())
		requireStats(t, q, 1, map[string]TargetStats{"a": {Waiting: 1}})
	})
}

func TestContextEnds(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := take(gone, q.NewReader("a"))
		require.ErrorIs(t, err, context.Canceled)
		_, err = take(gone, q.NewParkedReader("a"))
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, q.Park(gone, "a", Parked{Records: []Record{numbered(9)}}), ErrUnavailable)
		require.True(t, q.isReady(), "somebody else's context says nothing about the store")

		// The sender leaves; what it submitted is still stored.
		release := hold(t, q)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err = q.Accept(ctx, numbered(0), time.Minute)
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		release()
		duplicate, err := q.Accept(t.Context(), numbered(0), time.Minute)
		require.NoError(t, err)
		require.True(t, duplicate)
		requireRange(t, drain(t, q, "a"), 0, 1)
	})
}
