// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func deadLetters(t *testing.T, q *Queue, f DeadLetterFilter) (all []DeadLetter) {
	t.Helper()
	for d, err := range q.DeadLetters(t.Context(), f) {
		require.NoError(t, err)
		all = append(all, d)
	}
	return all
}

func numbersOf(letters []DeadLetter) (numbers []int) {
	for _, d := range letters {
		numbers = append(numbers, numberOf(d.Record))
	}
	return numbers
}

func TestDeadLetter(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		r := numbered(3)
		r.Destination, r.UID, r.Mailbox, r.Attempts = "device", 3, 4, 2
		before := time.Now().Add(-time.Minute) // clocks of servers differ
		require.NoError(t, q.DeadLetter(t.Context(), "a", &r, "status_400"))
		requireStats(t, q, 0, map[string]TargetStats{"a": {Dead: 1}})
		letters := deadLetters(t, q, DeadLetterFilter{})
		require.Len(t, letters, 1)
		require.WithinRange(t, letters[0].Time, before, time.Now().Add(time.Minute))
		letters[0].Time = time.Time{}
		require.Equal(t, DeadLetter{Number: 1, Target: "a", Reason: "status_400", Record: r}, letters[0])
	})
}

func TestDeadLetterFilter(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a", "b")
		require.Empty(t, deadLetters(t, q, DeadLetterFilter{}))
		for n := range 10 {
			require.NoError(t, q.DeadLetter(t.Context(), []string{"a", "b"}[n%2], new(numbered(n)), "expired"))
		}
		require.NoError(t, q.DeadLetter(t.Context(), "b", new(numbered(4)), "expired"))

		all := deadLetters(t, q, DeadLetterFilter{})
		require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 4}, numbersOf(all))
		middle := all[5]
		for name, test := range map[string]struct {
			filter DeadLetterFilter
			want   []int
		}{
			"target":              {DeadLetterFilter{Target: "b"}, []int{1, 3, 5, 7, 9, 4}},
			"unknown target":      {DeadLetterFilter{Target: "c"}, nil},
			"impossible target":   {DeadLetterFilter{Target: "a.>"}, nil},
			"identity":            {DeadLetterFilter{ID: identity(4)}, []int{4, 4}},
			"identity and target": {DeadLetterFilter{ID: identity(4), Target: "b"}, []int{4}},
			"unknown identity":    {DeadLetterFilter{ID: identity(99)}, nil},
			"before":              {DeadLetterFilter{Before: middle.Time}, []int{0, 1, 2, 3, 4}},
			"after":               {DeadLetterFilter{After: middle.Time}, []int{6, 7, 8, 9, 4}},
			"from":                {DeadLetterFilter{From: all[8].Number}, []int{8, 9, 4}},
			"from and target":     {DeadLetterFilter{From: all[8].Number, Target: "a"}, []int{8}},
			"from the future":     {DeadLetterFilter{From: 1 << 60}, nil},
		} {
			require.Equal(t, test.want, numbersOf(deadLetters(t, q, test.filter)), name)
		}
	})
}

func TestReplay(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		require.NoError(t, q.DeadLetter(t.Context(), "a", new(numbered(1)), "expired"))
		require.NoError(t, q.DeadLetter(t.Context(), "a", new(numbered(2)), "expired"))
		begin := time.Now().Truncate(time.Millisecond)
		n := 0
		for d, err := range q.DeadLetters(t.Context(), DeadLetterFilter{}) {
			require.NoError(t, err)
			require.Equal(t, []error{nil}, q.Replay(t.Context(), []DeadLetter{d}))
			// It dies again at once: the list does not go on for ever.
			require.NoError(t, q.DeadLetter(t.Context(), "a", &d.Record, "status_400"))
			n++
		}
		require.Equal(t, 2, n)
		requireStats(t, q, 0, map[string]TargetStats{"a": {Parked: 2, Dead: 2}})
		g := next(t, q.NewParkedReader("a"))
		require.Len(t, g.Records, 1)
		require.Equal(t, numbered(1).ID, g.Records[0].ID)
		require.Equal(t, numbered(1).Accepted, g.Records[0].Accepted)
		require.Equal(t, numbered(1).Body, g.Records[0].Body)
		require.Zero(t, g.Records[0].Attempts)
		require.WithinRange(t, g.Due, begin, time.Now())
		require.WithinRange(t, g.Records[0].Replayed, begin, time.Now(), "max_age counts from now")
		require.NoError(t, g.Ack())
	})
}

func TestReplayRefuses(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t)
		release := use(t, q, "a")
		require.NoError(t, q.DeadLetter(t.Context(), "a", new(numbered(1)), "expired"))
		release()
		letter := deadLetters(t, q, DeadLetterFilter{})[0]
		refused := q.Replay(t.Context(), []DeadLetter{letter})[0]
		require.ErrorIs(t, refused, ErrNotInUse)
		require.ErrorContains(t, refused, "a")
		require.Len(t, deadLetters(t, q, DeadLetterFilter{}), 1, "it is still there")

		use(t, q, "a")
		_, err := q.js().PublishMsg(t.Context(), &nats.Msg{Subject: q.names.dead + ".a", Data: []byte("damaged")},
			jetstream.WithExpectStream(q.names.deadStream))
		require.NoError(t, err)
		all := deadLetters(t, q, DeadLetterFilter{})
		damaged := all[1]
		require.Equal(t, "damaged", damaged.Reason)
		require.Equal(t, "damaged", string(damaged.Record.Body))
		results := q.Replay(t.Context(), all)
		require.NoError(t, results[0], "the one beside it is replayed")
		require.ErrorIs(t, results[1], errCorruptGroup)
		require.Equal(t, numbersOf(all[1:]), numbersOf(deadLetters(t, q, DeadLetterFilter{})))
	})
}

// Many are parked in few groups, in their order.
func TestReplayMany(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a", "b")
		for n := range 20 {
			require.NoError(t, q.DeadLetter(t.Context(), []string{"a", "b"}[n%2], new(numbered(n)), "expired"))
		}
		for _, err := range q.Replay(t.Context(), deadLetters(t, q, DeadLetterFilter{})) {
			require.NoError(t, err)
		}
		requireStats(t, q, 0, map[string]TargetStats{"a": {Parked: 10}, "b": {Parked: 10}})
		g := next(t, q.NewParkedReader("b"))
		require.Len(t, g.Records, 10)
		for i, r := range g.Records {
			require.Equal(t, numbered(2*i+1).ID, r.ID)
		}
		require.NoError(t, g.Ack())
	})
}

func TestDeleteDeadLetter(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		for n := range 5 {
			require.NoError(t, q.DeadLetter(t.Context(), "a", new(numbered(n)), "expired"))
		}
		all := deadLetters(t, q, DeadLetterFilter{})
		for range 2 { // twice is no error
			require.NoError(t, q.DeleteDeadLetter(t.Context(), all[0].Number))
			require.NoError(t, q.DeleteDeadLetter(t.Context(), all[3].Number))
		}
		require.NoError(t, q.DeleteDeadLetter(t.Context(), 99))
		require.Equal(t, []int{1, 2, 4}, numbersOf(deadLetters(t, q, DeadLetterFilter{})))
		require.NoError(t, q.Close())
		require.ErrorIs(t, q.DeleteDeadLetter(t.Context(), all[1].Number), ErrUnavailable)
		for _, err := range q.DeadLetters(t.Context(), DeadLetterFilter{}) {
			require.ErrorIs(t, err, ErrUnavailable)
		}
	})
}
