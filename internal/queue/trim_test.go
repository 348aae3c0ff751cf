// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func streamState(t *testing.T, q *Queue) jetstream.StreamState {
	t.Helper()
	stream, err := q.js().Stream(t.Context(), q.names.stream)
	require.NoError(t, err)
	return stream.CachedInfo().State
}

// What all targets have is removed from the stream automatically, and nothing
// else is.
func TestTrim(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "slow", "fast")
		for n := range 6 {
			accept(t, q, numbered(n))
		}
		fast, slow := q.NewReader("fast"), q.NewReader("slow")
		for range 6 {
			require.NoError(t, next(t, fast).Ack())
		}
		first, second, third := next(t, slow), next(t, slow), next(t, slow)
		require.NoError(t, third.Ack())
		require.NoError(t, q.trim(t.Context(), false))
		require.EqualValues(t, 6, streamState(t, q).Msgs, "the slow target has neither the first nor the second")

		require.NoError(t, first.Ack())
		require.Eventually(t, func() bool { return streamState(t, q).Msgs == 5 }, patience, 10*time.Millisecond)
		require.NoError(t, second.Ack())
		require.Eventually(t, func() bool { return streamState(t, q).Msgs == 3 }, patience, 10*time.Millisecond)
		requireRange(t, drain(t, q, "slow"), 3, 6)
		require.Eventually(t, func() bool { return streamState(t, q).Msgs == 0 }, patience, 10*time.Millisecond)
	})
}

// Without a target nothing is kept.
func TestTrimWithoutTarget(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t)
		for n := range 3 {
			accept(t, q, numbered(n))
		}
		require.Eventually(t, func() bool { return streamState(t, q).Msgs == 0 }, patience, 10*time.Millisecond)
		use(t, q, "a")
		accept(t, q, numbered(3))
		require.NoError(t, q.trim(t.Context(), false))
		requireRange(t, drain(t, q, "a"), 3, 4)
	})
}

// What is returned comes again at once, however much is trimmed meanwhile.
func TestTrimWhileReturning(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		r := q.NewReader("a")
		for round := range 20 {
			for n := range 4 {
				accept(t, q, numbered(4*round+n))
			}
			first, second, third := next(t, r), next(t, r), next(t, r)
			require.NoError(t, first.Ack())
			require.NoError(t, second.Nak())
			require.NoError(t, third.Nak())
			before := streamState(t, q).Msgs // acknowledged ones may have been trimmed just before
			require.NoError(t, q.trim(t.Context(), false))
			require.Equal(t, before, streamState(t, q).Msgs, "nothing is trimmed before it was taken again")
			began := time.Now()
			for range 3 {
				require.NoError(t, next(t, r).Ack())
			}
			require.Less(t, time.Since(began), AckWait/2, "it did not wait for the queue to miss it")
			require.NoError(t, q.trim(t.Context(), false))
			require.Zero(t, streamState(t, q).Msgs)
		}
	})
}

// What a reader leaves behind is returned as well.
func TestTrimAfterReaderCloses(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		accept(t, q, numbered(0))
		accept(t, q, numbered(1))
		r := q.NewReader("a")
		require.NoError(t, next(t, r).Ack())
		require.NoError(t, r.pull.nc.PublishRequest(r.pull.subject, r.pull.inbox+"late", []byte(`{"batch":1}`)))
		// The end of the first request, and the message.
		require.Eventually(t, func() bool { return len(r.pull.arrived) == 2 }, patience, time.Millisecond)
		r.Close()
		before := streamState(t, q).Msgs
		require.NoError(t, q.trim(t.Context(), false))
		require.Equal(t, before, streamState(t, q).Msgs)
		require.NoError(t, next(t, q.NewReader("a")).Ack())
		require.NoError(t, q.trim(t.Context(), false))
		require.Zero(t, streamState(t, q).Msgs)
	})
}

// Nobody need take again what was returned for things to be trimmed.
func TestTrimForgetsReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trims trimming
		trims.note(position{"a", 1})
		trims.note(position{"b", 1})
		trims.taken(position{"a", 1})
		trims.taken(position{"a", 2})
		require.True(t, trims.awaits())
		time.Sleep(AckWait + 1)
		require.False(t, trims.awaits())
		require.Empty(t, trims.returned)
	})
}
