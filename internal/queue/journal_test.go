// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func readJournal(t *testing.T, j *Journal) (entries []string, at Position) {
	t.Helper()
	at, err := j.Read(t.Context(), func(data []byte) { entries = append(entries, string(data)) })
	require.NoError(t, err)
	return entries, at
}

// Nothing leaves the queue that a journal does not cover, and what is in the
// journal or behind it is the same after the store was opened again.
func TestJournal(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		s.config.Journals = []string{"marks"}
		q := s.open(t, "a")
		j := q.Journal("marks")
		for n := range 4 {
			accept(t, q, numbered(n))
		}
		requireRange(t, drain(t, q, "a"), 0, 4)
		require.NoError(t, q.trim(t.Context(), false))
		require.EqualValues(t, 4, streamState(t, q).Msgs, "the journal has none of them")

		entries, at := readJournal(t, j)
		require.Empty(t, entries)
		require.Zero(t, at)
		at, err := j.Append(t.Context(), at.Entry, 2, []byte("two"))
		require.NoError(t, err)
		require.NoError(t, q.trim(t.Context(), false))
		require.EqualValues(t, 2, streamState(t, q).Msgs)

		_, err = q.Journal("marks").Append(t.Context(), 0, 4, []byte("from one who missed the first"))
		require.ErrorIs(t, err, ErrChanged)
		at, err = j.Append(t.Context(), at.Entry, 3, []byte("three"))
		require.NoError(t, err)

		require.NoError(t, q.Close())
		q = s.open(t, "a")
		j = q.Journal("marks")
		entries, again := readJournal(t, j)
		require.Equal(t, []string{"two", "three"}, entries)
		require.Equal(t, at, again)
		first, last, err := j.Kept(t.Context())
		require.NoError(t, err)
		require.Equal(t, []uint64{3, 4}, []uint64{first, last})
		accept(t, q, numbered(4))
		require.Equal(t, []uint64{4, 5}, acceptedAfter(t, j, again.Covers, 2))

		require.NoError(t, j.DropBefore(t.Context(), again.Entry))
		entries, again = readJournal(t, j)
		require.Equal(t, []string{"three"}, entries)
		require.Equal(t, at, again)
		require.NoError(t, q.trim(t.Context(), false))
		st, err := q.Stats(t.Context(), []string{"a"})
		require.NoError(t, err)
		require.Empty(t, st.Removed, "who reads along is no target")
	})
}

// acceptedAfter are the numbers of so many groups.
func acceptedAfter(t *testing.T, j *Journal, after uint64, count int) (numbers []uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := j.Accepted(ctx, after, func(number uint64, records []Record) {
		require.Len(t, records, 1)
		if numbers = append(numbers, number); len(numbers) == count {
			cancel()
		}
	})
	require.Error(t, err)
	return numbers
}

// A journal that is no longer kept holds nothing up.
func TestJournalThatIsNotKept(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		without := s.config
		s.config.Journals = []string{"marks"}
		q := s.open(t, "a")
		accept(t, q, numbered(0))
		requireRange(t, drain(t, q, "a"), 0, 1)
		require.NoError(t, q.trim(t.Context(), false))
		require.EqualValues(t, 1, streamState(t, q).Msgs)
		require.NoError(t, q.Reconcile(t.Context(), without))
		require.NoError(t, q.trim(t.Context(), false))
		require.Zero(t, streamState(t, q).Msgs)
	})
}

// A journal that nobody writes keeps what is accepted until the queue is full, and
// stops nobody then.
func TestJournalThatIsNotWritten(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		s.config.MaxBytes = 100 << 10
		s.config.Journals = []string{"marks"}
		q := s.open(t, "a")
		n := fillUp(t, q)
		requireRange(t, drain(t, q, "a"), 0, n)
		refused := func() error {
			_, err := q.Accept(t.Context(), Record{ID: identity(n), Body: body(10 << 10)}, time.Minute)
			return err
		}
		require.NoError(t, q.trim(t.Context(), true))
		require.ErrorIs(t, refused(), ErrFull, "it may still be written")

		q.journals.mu.Lock()
		q.journals.since = time.Now().Add(-journalPatience)
		q.journals.mu.Unlock()
		require.NoError(t, q.trim(t.Context(), false))
		require.Eventually(t, func() bool { return refused() == nil }, patience, 10*time.Millisecond)
		first, _, err := q.Journal("marks").Kept(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, n+1, first, "its writer can tell that something was removed")
	})
}
