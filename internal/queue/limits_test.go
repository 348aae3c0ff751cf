// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/testlog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fillUp accepts until the queue is full, and returns how many it took.
func fillUp(t *testing.T, q *Queue) int {
	t.Helper()
	for n := range 1000 {
		r := numbered(n)
		r.Body = body(10 << 10)
		if _, err := q.Accept(t.Context(), r, time.Minute); err != nil {
			require.ErrorIs(t, err, ErrFull)
			return n
		}
	}
	t.Fatal("never full")
	return 0
}

func TestFull(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		s.config.MaxBytes = 100 << 10
		q := s.open(t, "a")
		n := fillUp(t, q)
		require.Greater(t, n, 7)
		require.True(t, q.isReady(), "full is not broken")
		for range 20 { // no room, however often one asks
			_, err := q.Accept(t.Context(), Record{ID: identity(5000), Body: body(10 << 10)}, time.Minute)
			require.ErrorIs(t, err, ErrFull)
		}

		// Room appears as targets acknowledge.
		r := q.NewReader("a")
		g := next(t, r)
		require.Equal(t, identity(0), g.Records[0].ID, "nothing that is stored was dropped")
		require.NoError(t, g.Ack())
		require.Eventually(t, func() bool {
			_, err := q.Accept(t.Context(), Record{ID: identity(n), Body: body(10 << 10)}, time.Minute)
			return err == nil
		}, patience, 10*time.Millisecond)
		requireRange(t, drain(t, q, "a"), 1, n+1)
	})
}

// More room does not wait for a restart, and less costs nothing.
func TestFullThenMoreRoom(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		s.config.MaxBytes = 100 << 10
		q := s.open(t, "a")
		n := fillUp(t, q)
		cfg := s.config
		cfg.MaxBytes = 200 << 10
		require.NoError(t, q.Reconcile(t.Context(), cfg))
		accept(t, q, Record{ID: identity(n), Body: body(10 << 10)})
		cfg.MaxBytes = 20 << 10
		require.NoError(t, q.Reconcile(t.Context(), cfg))
		_, err := q.Accept(t.Context(), Record{ID: identity(5000)}, 0)
		require.ErrorIs(t, err, ErrFull)
		requireRange(t, drain(t, q, "a"), 0, n+1)
		accept(t, q, numbered(5001))
	})
}

func TestParkedFull(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		s.config.MaxBytes = 100 << 10
		q := s.open(t, "a")
		var err error
		for n := 0; n < 100 && err == nil; n++ {
			err = q.Park(t.Context(), "a", Parked{Records: []Record{{ID: identity(n), Body: body(10 << 10)}}})
		}
		require.ErrorIs(t, err, ErrFull)
		accept(t, q, numbered(0)) // has room of its own
		for n := range 100 {      // have as well, and forget the oldest
			require.NoError(t, q.DeadLetter(t.Context(), "a", &Record{ID: identity(n), Body: body(10 << 10)}, ""))
		}
		st, err := q.Stats(t.Context(), []string{"a"})
		require.NoError(t, err)
		require.InDelta(t, 9, st.Targets["a"].Dead, 2)
	})
}

func TestCloseWritesWhatWasSubmitted(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		var (
			wg       sync.WaitGroup
			accepted sync.Map
			count    atomic.Int64
		)
		for i := range 16 {
			wg.Go(func() {
				for n := i; ; n += 16 {
					_, err := q.Accept(context.Background(), numbered(n), time.Minute)
					if err != nil {
						assert.ErrorIs(t, err, ErrClosed)
						return
					}
					accepted.Store(n, true)
					count.Add(1)
				}
			})
		}
		require.Eventually(t, func() bool { return count.Load() > 200 }, patience, time.Millisecond)
		require.NoError(t, q.Close())
		require.NoError(t, q.Close(), "once more")
		wg.Wait()
		_, err := q.Accept(t.Context(), numbered(0), 0)
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, q.Park(t.Context(), "a", Parked{Records: []Record{numbered(0)}}), ErrUnavailable)

		q = s.open(t, "a")
		seen := drain(t, q, "a")
		accepted.Range(func(n, _ any) bool { return assert.Equal(t, 1, seen[identity(n.(int))], n) })
		require.Len(t, seen, int(count.Load()), "and what was refused is not stored")
	})
}

// New settings interrupt nothing: no write fails, what is held stays held, and
// what is acknowledged in the meantime stays acknowledged.
func TestReconcileUnderLoad(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a", "b")
		accept(t, q, numbered(0))
		held := next(t, q.NewReader("b"))
		var (
			wg   sync.WaitGroup
			last atomic.Int64
			b    = make(map[int]int)
		)
		stop := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					n := int(last.Add(1))
					_, err := q.Accept(context.Background(), numbered(n), time.Minute)
					assert.NoError(t, err, n)
				}
			})
		}
		wg.Go(func() {
			r := q.NewReader("b")
			for {
				g, err := take(context.Background(), r)
				if err != nil {
					select {
					case <-stop:
						return
					default:
						continue
					}
				}
				for _, r := range g.Records {
					b[numberOf(r)]++
				}
				assert.NoError(t, g.Ack())
			}
		})
		cfg := s.config
		for i := range 8 {
			cfg.MaxBytes += 1 << 20
			if cfg.Embedded != nil {
				cfg.Embedded = &Embedded{Path: cfg.Embedded.Path, Sync: time.Duration(i%2) * time.Second}
			}
			require.NoError(t, q.Reconcile(t.Context(), cfg))
			time.Sleep(30 * time.Millisecond)
		}
		require.NoError(t, held.Ack())
		close(stop)
		wg.Wait()
		requireRange(t, drain(t, q, "a"), 0, int(last.Load())+1)
		for id := range drain(t, q, "b") {
			b[numberOf(Record{ID: id})]++
		}
		for n := 1; n <= int(last.Load()); n++ {
			assert.Equal(t, 1, b[n], "%d came to the other target", n)
		}
		requireStats(t, q, 0, map[string]TargetStats{"a": {}, "b": {}})
	})
}

func TestOpenRefuses(t *testing.T) {
	embedded, external := &Embedded{Path: t.TempDir()}, &External{URLs: []string{"nats://127.0.0.1:1"}}
	for name, cfg := range map[string]Config{
		"no store":    {},
		"two stores":  {Embedded: embedded, External: external},
		"prefix":      {Embedded: embedded, Prefix: "a.b"},
		"long prefix": {Embedded: embedded, Prefix: string(body(65))},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Logger = testlog.New(t)
			_, err := Open(t.Context(), cfg)
			require.Error(t, err)
		})
	}
	for _, name := range []string{"", "a.b", "a b", "*", ">", "ä", "a/b", string(body(65))} {
		require.False(t, ValidName(name), name)
	}
	for _, name := range []string{"a", "OX_middleware-2", string(body(64))} {
		require.True(t, ValidName(name), name)
	}
}
