// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func streamState(t *testing.T, q *Queue) jetstream.StreamState {
	t.Helper()
	stream, err := q.js.Stream(t.Context(), q.names.stream)
	require.NoError(t, err)
	return stream.CachedInfo().State
}

// What all targets have leaves the stream by itself, and nothing else does.
func TestTrim(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "slow", "fast")
		for n := range 6 {
			accept(t, q, numbered(n))
		}
		fast, slow := q.NewReader("fast"), q.NewReader("slow")
		for range 6 {
			require.NoError(t, next(t, fast).Settle())
		}
		first, second, third := next(t, slow), next(t, slow), next(t, slow)
		require.NoError(t, third.Settle())
		require.NoError(t, q.trim(t.Context()))
		require.EqualValues(t, 6, streamState(t, q).Msgs, "the slow target has neither the first nor the second")

		require.NoError(t, first.Settle())
		require.Eventually(t, func() bool { return streamState(t, q).Msgs == 5 }, 10*time.Second, 10*time.Millisecond)
		require.NoError(t, second.Settle())
		require.Eventually(t, func() bool { return streamState(t, q).Msgs == 3 }, 10*time.Second, 10*time.Millisecond)
		requireRange(t, drain(t, q, "slow"), 3, 6)
		require.Eventually(t, func() bool { return streamState(t, q).Msgs == 0 }, 10*time.Second, 10*time.Millisecond)
	})
}

// Without a target nothing is kept.
func TestTrimWithoutTarget(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t)
		for n := range 3 {
			accept(t, q, numbered(n))
		}
		require.Eventually(t, func() bool { return streamState(t, q).Msgs == 0 }, 10*time.Second, 10*time.Millisecond)
		use(t, q, "a")
		accept(t, q, numbered(3))
		require.NoError(t, q.trim(t.Context()))
		requireRange(t, drain(t, q, "a"), 3, 4)
	})
}
