// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUse(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t)
		_, err := q.Use(t.Context(), []string{"fine", "not.fine"})
		require.ErrorContains(t, err, "not.fine")
		_, err = take(t.Context(), q.NewReader("fine"))
		require.ErrorIs(t, err, ErrUnavailable, "nothing is in use after an error")

		old := use(t, q, "a")
		renewed := use(t, q, "a", "b") // a reload: the new configuration starts first
		old()
		old()
		accept(t, q, numbered(0))
		requireRange(t, drain(t, q, "a"), 0, 1)
		requireRange(t, drain(t, q, "b"), 0, 1)
		renewed()
		_, err = take(t.Context(), q.NewReader("a"))
		require.ErrorIs(t, err, ErrUnavailable)
	})
}

// A target that joins gets what still waits for the others.
func TestJoin(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		accept(t, q, numbered(0), numbered(1), numbered(2))
		require.NoError(t, next(t, q.NewReader("a")).Ack())
		requireStats(t, q, 2, map[string]TargetStats{"a": {Waiting: 2}})
		use(t, q, "b")
		accept(t, q, numbered(3))
		requireRange(t, drain(t, q, "b"), 1, 4)
		requireRange(t, drain(t, q, "a"), 1, 4)
	})
}

// A new target gets nothing of what is kept for one that was removed: those
// configured with it have had that long ago. What is kept for a removed one is
// shown, and can be dropped.
func TestJoinAfterRemoval(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t)
		release := use(t, q, "a", "gone")
		accept(t, q, numbered(0), numbered(1), numbered(2))
		requireRange(t, drain(t, q, "a"), 0, 3)
		accept(t, q, numbered(3))
		release()
		use(t, q, "a", "b")
		accept(t, q, numbered(4))
		requireRange(t, drain(t, q, "b"), 3, 5)
		requireRange(t, drain(t, q, "a"), 3, 5)

		q.cleanUpUnused(false) // marks it
		if s.config.External != nil {
			age(t, q, "gone", 11*time.Minute)
		}
		st, err := q.Stats(t.Context(), []string{"a", "b"})
		require.NoError(t, err)
		require.Len(t, st.Removed, 1)
		require.EqualValues(t, 5, st.Removed["gone"].Waiting)
		require.False(t, st.Removed["gone"].Until.IsZero())
		require.ErrorIs(t, q.Drop(t.Context(), "a"), ErrInUse)
		require.ErrorIs(t, q.Drop(t.Context(), "nobody"), ErrNotFound)
		require.NoError(t, q.Drop(t.Context(), "gone"))
		require.ErrorIs(t, q.Drop(t.Context(), "gone"), ErrNotFound)
		requireStats(t, q, 0, map[string]TargetStats{"a": {}, "b": {}})
	})
}

// Where no other target is configured, what is kept would be delivered to
// nobody: a new one gets it.
func TestJoinAlone(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t)
		release := use(t, q, "old")
		accept(t, q, numbered(0), numbered(1))
		release()
		use(t, q, "new")
		requireRange(t, drain(t, q, "new"), 0, 2)
	})
}

// A position that is lost while it is in use is no new target's.
func TestLostPosition(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a", "b")
		accept(t, q, numbered(0), numbered(1))
		requireRange(t, drain(t, q, "a"), 0, 2)
		require.NoError(t, q.js().DeleteConsumer(t.Context(), q.names.stream, "b"))
		requireRange(t, drain(t, q, "b"), 0, 2)
	})
}

// age makes it look as if a target was without a user for that long.
func age(t *testing.T, q *Queue, target string, by time.Duration) {
	t.Helper()
	cons, err := q.js().Consumer(t.Context(), q.names.stream, target)
	require.NoError(t, err)
	cfg := cons.CachedInfo().Config
	require.Contains(t, cfg.Metadata, unusedSince)
	cfg.Metadata[unusedSince] = time.Now().Add(-by).UTC().Format(time.RFC3339)
	_, err = q.js().UpdateConsumer(t.Context(), q.names.stream, cfg)
	require.NoError(t, err)
}

func TestSweep(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		release := use(t, q, "gone")
		accept(t, q, numbered(0))
		require.NoError(t, q.Park(t.Context(), "gone", Parked{Records: []Record{numbered(1)}}))
		release()
		requireRange(t, drain(t, q, "a"), 0, 1)
		gone := map[string]TargetStats{"gone": {Waiting: 1, Parked: 1}}
		q.cleanUpUnused(false)
		requireStats(t, q, 1, gone)

		// It comes back in time, and goes again.
		age(t, q, "gone", 59*time.Minute)
		q.cleanUpUnused(false)
		requireStats(t, q, 1, gone)
		release = use(t, q, "gone")
		require.Equal(t, identity(0), next(t, q.NewReader("gone")).Records[0].ID)
		release()
		q.cleanUpUnused(false)
		requireStats(t, q, 1, gone)

		// Nobody comes for MaxAge, whatever restarts there are.
		age(t, q, "gone", 61*time.Minute)
		require.NoError(t, q.Close())
		q = s.open(t, "a")
		requireStats(t, q, 1, gone)
		q.cleanUpUnused(false)
		requireStats(t, q, 0, map[string]TargetStats{"a": {}, "gone": {}})
	})
}

// A target whose last notification is only parked has not had everything.
func TestSweepKeepsParked(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		release := use(t, q, "gone")
		require.NoError(t, q.Park(t.Context(), "gone", Parked{Records: []Record{numbered(1)}}))
		release()
		q.cleanUpUnused(false)
		requireStats(t, q, 0, map[string]TargetStats{"gone": {Parked: 1}})
		use(t, q, "gone")
		require.NoError(t, next(t, q.NewParkedReader("gone")).Ack())
	})
}

func TestSweepBetweenConfigurations(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t)
		release := use(t, q, "a")
		accept(t, q, numbered(0))
		release()
		q.cleanUpUnused(true)
		use(t, q, "a")
		requireRange(t, drain(t, q, "a"), 0, 1)
	})
}

// Where nothing waits for an unused target, nothing new is kept for it either.
func TestSweepUnneeded(t *testing.T) {
	t.Parallel()
	q := embeddedStore(t).open(t, "a")
	use(t, q, "gone")()
	q.cleanUpUnused(false)
	accept(t, q, numbered(0))
	requireRange(t, drain(t, q, "a"), 0, 1)
	requireStats(t, q, 0, map[string]TargetStats{"a": {}, "gone": {}})
}

// A full queue gives up what nobody uses at once.
func TestSweepWhenFull(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	s.config.MaxBytes = 100 << 10
	q := s.open(t, "a")
	release := use(t, q, "gone")
	n := fillUp(t, q)
	requireRange(t, drain(t, q, "a"), 0, n)
	release()
	_, err := q.Accept(t.Context(), Record{Body: body(10 << 10)}, 0)
	require.ErrorIs(t, err, ErrFull)
	require.Eventually(t, func() bool {
		_, err := q.Accept(t.Context(), Record{Body: body(10 << 10)}, 0)
		return err == nil
	}, patience, 10*time.Millisecond)
}

// On an external store the target that we do not use may be another Caddy's:
// it is given up neither by age nor for room while that one lives.
func TestSweepTwoQueues(t *testing.T) {
	t.Parallel()
	s := externalStore(t)
	s.config.MaxBytes = 100 << 10
	ours, theirs := s.open(t, "ours"), s.open(t, "theirs")
	n := fillUp(t, ours)
	ours.cleanUpUnused(false)
	ours.cleanUpUnused(true)
	age(t, ours, "theirs", 9*time.Minute)
	ours.cleanUpUnused(true) // full, but not certain
	theirs.cleanUpUnused(false)
	ours.cleanUpUnused(true)
	requireRange(t, drain(t, theirs, "theirs"), 0, n)
	ours.cleanUpUnused(false)
	age(t, ours, "theirs", 11*time.Minute) // and nobody takes the mark away
	ours.cleanUpUnused(true)
	_, err := ours.js().Consumer(t.Context(), ours.names.stream, "theirs")
	require.Error(t, err)
}

func TestStats(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		st, err := q.Stats(t.Context(), []string{"a", "unknown"})
		require.NoError(t, err)
		require.Equal(t, Stats{Targets: map[string]TargetStats{"a": {}, "unknown": {}}, Removed: map[string]RemovedTarget{}}, st)

		before := time.Now().Add(-time.Second)
		for n := range 3 {
			group := []byte{groupVersion}
			for i := range 10 {
				r := numbered(10*n + i)
				group = appendRecord(group, &r)
			}
			require.NoError(t, q.write(&commit{group: group, records: 10, began: time.Now()}))
		}
		st, err = q.Stats(t.Context(), []string{"a"})
		require.NoError(t, err)
		require.EqualValues(t, 30, st.Waiting)
		require.EqualValues(t, 30, st.Targets["a"].Waiting)
		require.Greater(t, st.Bytes, uint64(30*30))
		require.WithinRange(t, st.Oldest, before, time.Now().Add(time.Second))
		require.NoError(t, next(t, q.NewReader("a")).Ack())
		requireStats(t, q, 20, map[string]TargetStats{"a": {Waiting: 20}})

		require.NoError(t, q.Close())
		_, err = q.Stats(t.Context(), []string{"a"})
		require.ErrorIs(t, err, ErrUnavailable)
	})
}
