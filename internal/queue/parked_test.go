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
		want := Parked{Records: []Record{numbered(7)}, Due: due, Reason: "status_503"}
		want.Records[0].Attempts = 3
		require.NoError(t, q.Park(t.Context(), "a", want))
		requireStats(t, q, 0, map[string]TargetStats{"a": {Parked: 1}, "b": {}})
		_, err := take(t.Context(), q.NewParkedReader("b"))
		require.ErrorIs(t, err, ErrNoMore, "it is parked for the other target")

		p := next(t, q.NewParkedReader("a"))
		require.Equal(t, want.Records[0], p.Records[0])
		require.True(t, due.Equal(p.Due), p.Due)
		require.Equal(t, want.Reason, p.Reason)

		// The attempt fails again: first parked again, then acknowledged.
		p.Records[0].Attempts++
		require.NoError(t, q.Park(t.Context(), "a", Parked{Records: p.Records, Due: due.Add(time.Hour), Reason: "timeout"}))
		require.NoError(t, p.Ack())
		p = next(t, q.NewParkedReader("a"))
		require.Equal(t, 4, p.Records[0].Attempts)
		require.NoError(t, p.Ack())
		requireStats(t, q, 0, map[string]TargetStats{"a": {}, "b": {}})
	})
}

func TestPostpone(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		require.NoError(t, q.Park(t.Context(), "a", Parked{Records: []Record{numbered(0)}}))
		require.NoError(t, q.Park(t.Context(), "a", Parked{Records: []Record{numbered(1)}}))
		r := q.NewParkedReader("a")
		p := next(t, r)
		require.Equal(t, identity(0), p.Records[0].ID)
		postponed := time.Now()
		require.NoError(t, p.NakWithDelay(3*time.Second))
		p = next(t, r)
		require.Equal(t, identity(1), p.Records[0].ID, "does not wait for the one before it")
		require.NoError(t, p.Ack())
		p = next(t, r)
		require.Equal(t, identity(0), p.Records[0].ID)
		require.GreaterOrEqual(t, time.Since(postponed), 2990*time.Millisecond)
		require.NoError(t, p.Nak())
		p = next(t, r)
		require.Equal(t, identity(0), p.Records[0].ID)
		require.NoError(t, p.Ack())
		requireStats(t, q, 0, map[string]TargetStats{"a": {}})
	})
}

// What is parked together comes back together, in messages as large as the
// store takes.
func TestParkMany(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		var records []Record
		for n := range 60 {
			r := numbered(n)
			r.Body, r.Destination, r.Attempts = body(10<<10), "device", n%3
			records = append(records, r)
		}
		require.NoError(t, q.Park(t.Context(), "a", Parked{Records: records}))
		requireStats(t, q, 0, map[string]TargetStats{"a": {Parked: 60}})
		r := q.NewParkedReader("a")
		var got []Record
		for len(got) < len(records) {
			g := next(t, r)
			require.Less(t, len(g.Records), len(records))
			got = append(got, g.Records...)
			require.NoError(t, g.Ack())
		}
		require.Equal(t, records, got)
		requireStats(t, q, 0, map[string]TargetStats{"a": {}})
	})
}

func TestTakeMany(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		for n := range 50 {
			require.NoError(t, q.Park(t.Context(), "a", Parked{Records: []Record{numbered(n)}}))
		}
		r := q.NewParkedReader("a")
		var got []Record
		for takes := 0; len(got) < 50; takes++ {
			groups, err := r.Take(t.Context(), 20, 1<<30)
			require.NoError(t, err)
			require.LessOrEqual(t, len(groups), 20)
			require.Less(t, takes, 10, "many at once")
			for _, g := range groups {
				require.True(t, g.WasParked)
				got = append(got, g.Records...)
				require.NoError(t, g.Ack())
			}
		}
		for n := range got {
			require.Equal(t, numbered(n), got[n])
		}
		_, err := r.Take(t.Context(), 20, 1<<30)
		require.ErrorIs(t, err, ErrNoMore)
		require.NoError(t, q.Park(t.Context(), "a", Parked{Records: []Record{numbered(50)}}))
		require.Equal(t, identity(50), next(t, r).Records[0].ID, "and one that comes later")
	})
}

func TestReopen(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a", "b")
		acceptRange(t, q, 0, 100)
		g := next(t, q.NewReader("b"))
		require.NoError(t, g.Ack())
		held := next(t, q.NewReader("b")) // neither acknowledged nor returned
		returned := next(t, q.NewReader("b"))
		require.NoError(t, returned.Nak())
		due := time.Now().Add(time.Hour).Truncate(time.Millisecond)
		waits := numbered(100)
		waits.Attempts = 5
		require.NoError(t, q.Park(t.Context(), "b", Parked{Records: []Record{waits}, Due: due, Reason: "timeout"}))
		require.NoError(t, q.DeadLetter(t.Context(), "b", new(numbered(101)), "status_400"))
		require.NoError(t, q.Close())

		q = s.open(t, "a", "b")
		requireRange(t, drain(t, q, "a"), 0, 100)
		seen := drain(t, q, "b")
		require.Len(t, seen, 100-len(g.Records))
		for _, r := range held.Records {
			require.Equal(t, 1, seen[r.ID])
		}
		p := next(t, q.NewParkedReader("b"))
		require.Equal(t, waits, p.Records[0])
		require.True(t, due.Equal(p.Due))
		require.Equal(t, "timeout", p.Reason)
		requireStats(t, q, 0, map[string]TargetStats{"a": {}, "b": {Parked: 1, Dead: 1}})
	})
}

// What nobody can read becomes a dead letter, and what is behind it comes.
func TestDamagedMessages(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		require.NoError(t, q.write(&commit{group: []byte("\x63 from the future"), records: 1, began: time.Now()}))
		accept(t, q, numbered(0))
		r := q.NewReader("a")
		_, err := take(t.Context(), r)
		require.ErrorIs(t, err, errCorruptGroup)
		g := next(t, r)
		require.Equal(t, identity(0), g.Records[0].ID)
		require.NoError(t, g.Ack())

		_, err = q.js().Publish(t.Context(), q.names.park+".a.1", []byte("not a record"), jetstream.WithExpectStream(q.names.parkedStream))
		require.NoError(t, err)
		require.NoError(t, q.Park(t.Context(), "a", Parked{Records: []Record{numbered(1)}}))
		parked := q.NewParkedReader("a")
		_, err = take(t.Context(), parked)
		require.ErrorIs(t, err, errCorruptGroup)
		p := next(t, parked)
		require.Equal(t, identity(1), p.Records[0].ID)
		require.NoError(t, p.Ack())
		requireStats(t, q, 0, map[string]TargetStats{"a": {Dead: 2}})
	})
}
