// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func TestPark(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a", "b")
		due := time.Now().Add(time.Hour).Truncate(time.Millisecond)
		want := Parked{Record: numbered(7), Attempts: 3, Due: due, Reason: "status_503"}
		require.NoError(t, q.Park(t.Context(), "a", want))
		requireStats(t, q, 0, map[string]TargetStats{"a": {Parked: 1}, "b": {}})
		_, err := q.NewParkedReader("b").NextParked(t.Context())
		require.ErrorIs(t, err, ErrNoMore, "it is parked for the other target")

		p := nextParked(t, q.NewParkedReader("a"))
		require.Equal(t, want.Record, p.Record)
		require.Equal(t, want.Attempts, p.Attempts)
		require.True(t, due.Equal(p.Due), p.Due)
		require.Equal(t, want.Reason, p.Reason)

		// The attempt fails again: parked anew first, then settled.
		require.NoError(t, q.Park(t.Context(), "a", Parked{Record: p.Record, Attempts: 4, Due: due.Add(time.Hour), Reason: "timeout"}))
		require.NoError(t, p.Settle())
		p = nextParked(t, q.NewParkedReader("a"))
		require.Equal(t, 4, p.Attempts)
		require.NoError(t, p.Settle())
		requireStats(t, q, 0, map[string]TargetStats{"a": {}, "b": {}})
	})
}

func TestPostpone(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		require.NoError(t, q.Park(t.Context(), "a", Parked{Record: numbered(0)}))
		require.NoError(t, q.Park(t.Context(), "a", Parked{Record: numbered(1)}))
		r := q.NewParkedReader("a")
		p := nextParked(t, r)
		require.Equal(t, identity(0), p.ID)
		postponed := time.Now()
		require.NoError(t, p.Postpone(700*time.Millisecond))
		p = nextParked(t, r)
		require.Equal(t, identity(1), p.ID, "does not wait for the one before it")
		require.NoError(t, p.Settle())
		p = nextParked(t, r)
		require.Equal(t, identity(0), p.ID)
		require.GreaterOrEqual(t, time.Since(postponed), 690*time.Millisecond)
		require.NoError(t, p.Return())
		p = nextParked(t, r)
		require.Equal(t, identity(0), p.ID)
		require.NoError(t, p.Settle())
		requireStats(t, q, 0, map[string]TargetStats{"a": {}})
	})
}

func TestReopen(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a", "b")
		acceptRange(t, q, 0, 100)
		g := next(t, q.NewReader("b"))
		require.NoError(t, g.Settle())
		held := next(t, q.NewReader("b")) // neither settled nor returned
		returned := next(t, q.NewReader("b"))
		require.NoError(t, returned.Return())
		due := time.Now().Add(time.Hour).Truncate(time.Millisecond)
		require.NoError(t, q.Park(t.Context(), "b", Parked{Record: numbered(100), Attempts: 5, Due: due, Reason: "timeout"}))
		require.NoError(t, q.Bury(t.Context(), "b", Parked{Record: numbered(101), Attempts: 9, Reason: "status_400"}))
		require.NoError(t, q.Close())

		q = s.open(t, "a", "b")
		requireRange(t, drain(t, q, "a"), 0, 100)
		seen := drain(t, q, "b")
		require.Len(t, seen, 100-len(g.Records))
		for _, r := range held.Records {
			require.Equal(t, 1, seen[r.ID])
		}
		p := nextParked(t, q.NewParkedReader("b"))
		require.Equal(t, numbered(100), p.Record)
		require.Equal(t, 5, p.Attempts)
		require.True(t, due.Equal(p.Due))
		require.Equal(t, "timeout", p.Reason)
		requireStats(t, q, 0, map[string]TargetStats{"a": {}, "b": {Parked: 1, Dead: 1}})
	})
}

func TestBury(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		require.NoError(t, q.Bury(t.Context(), "a", Parked{Record: numbered(3), Attempts: 2, Reason: "status_400"}))
		requireStats(t, q, 0, map[string]TargetStats{"a": {Dead: 1}})
		stream, err := q.js.Stream(t.Context(), q.names.deadStream)
		require.NoError(t, err)
		msg, err := stream.GetLastMsgForSubject(t.Context(), q.names.dead+".a")
		require.NoError(t, err)
		records, err := parseGroup(msg.Data)
		require.NoError(t, err)
		require.Equal(t, []Record{numbered(3)}, records)
		require.Equal(t, "status_400", msg.Header.Get(headerReason))
		require.Equal(t, "2", msg.Header.Get(headerAttempts))
	})
}

// What nobody can read becomes a dead letter, and what is behind it comes.
func TestDamagedMessages(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		require.NoError(t, q.write([]byte("\x63 from the future"), 1))
		accept(t, q, numbered(0))
		r := q.NewReader("a")
		_, err := r.Next(t.Context())
		require.ErrorIs(t, err, errCorruptGroup)
		g := next(t, r)
		require.Equal(t, identity(0), g.Records[0].ID)
		require.NoError(t, g.Settle())

		_, err = q.js.Publish(t.Context(), q.names.park+".a", []byte("not a record"), jetstream.WithExpectStream(q.names.parkedStream))
		require.NoError(t, err)
		require.NoError(t, q.Park(t.Context(), "a", Parked{Record: numbered(1)}))
		parked := q.NewParkedReader("a")
		_, err = parked.NextParked(t.Context())
		require.ErrorIs(t, err, errCorruptGroup)
		p := nextParked(t, parked)
		require.Equal(t, identity(1), p.ID)
		require.NoError(t, p.Settle())
		requireStats(t, q, 0, map[string]TargetStats{"a": {Dead: 2}})
	})
}
