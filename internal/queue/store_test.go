// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/testlog"
)

// patience is how long tests wait for what must happen, on a slow machine too.
const patience = time.Minute

// testStore is one place to keep a queue in. open may be called again after
// the queue was closed, and finds what was stored.
type testStore struct {
	config Config
}

// eachStore runs a test on an embedded store and on a real NATS server.
func eachStore(t *testing.T, test func(t *testing.T, s *testStore)) {
	t.Helper()
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, embeddedStore(t))
	})
	t.Run("external", func(t *testing.T) {
		t.Parallel()
		test(t, externalStore(t))
	})
}

func embeddedStore(t testing.TB) *testStore {
	return &testStore{config: Config{
		Embedded: &Embedded{Path: t.TempDir()}, MaxBytes: 32 << 20, MaxAge: time.Hour, Logger: testlog.New(t),
	}}
}

var prefixes atomic.Int32

// externalStore shares one server: tests differ in the prefix.
func externalStore(t testing.TB) *testStore {
	return &testStore{config: Config{
		External: &External{URLs: []string{natsServer.shared(t)}, Durability: AnyDurability}, Prefix: fmt.Sprintf("test_%d", prefixes.Add(1)),
		MaxBytes: 32 << 20, MaxAge: time.Hour, Logger: testlog.New(t),
	}}
}

// open opens the queue and uses targets.
func (s *testStore) open(t testing.TB, targets ...string) *Queue {
	t.Helper()
	q, err := Open(t.Context(), s.config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = q.Close() })
	use(t, q, targets...)
	return q
}

func use(t testing.TB, q *Queue, targets ...string) (release func()) {
	t.Helper()
	release, err := q.Use(t.Context(), targets)
	require.NoError(t, err)
	return release
}

func identity(n int) (id notification.Identity) {
	binary.BigEndian.PutUint64(id[:], uint64(n))
	return id
}

// numbered is a record that knows its number.
func numbered(n int) Record {
	return Record{ID: identity(n), Accepted: time.UnixMilli(1_700_000_000_000 + int64(n)), Body: fmt.Appendf(nil, `{"imap-uid":%d}`, n)}
}

func accept(t testing.TB, q *Queue, records ...Record) {
	t.Helper()
	for _, r := range records {
		duplicate, err := q.Accept(t.Context(), r, time.Minute)
		require.NoError(t, err)
		require.False(t, duplicate)
	}
}

// acceptRange accepts from..to-1, many at once.
func acceptRange(t testing.TB, q *Queue, from, to int) {
	t.Helper()
	var (
		wg   sync.WaitGroup
		next atomic.Int64
	)
	next.Store(int64(from))
	for range 32 {
		wg.Go(func() {
			for n := int(next.Add(1)) - 1; n < to; n = int(next.Add(1)) - 1 {
				if _, err := q.Accept(context.Background(), numbered(n), time.Minute); err != nil {
					t.Errorf("accepting %d: %v", n, err)
				}
			}
		})
	}
	wg.Wait()
}

// take takes one group.
func take(ctx context.Context, r *Reader) (*Group, error) {
	groups, err := r.Take(ctx, 1, 1<<30)
	if err != nil {
		return nil, err
	}
	return groups[0], nil
}

// next takes the next group, however long the store takes to give it out.
func next(t testing.TB, r *Reader) *Group {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		g, err := take(t.Context(), r)
		if errors.Is(err, ErrNoMore) && time.Now().Before(deadline) {
			continue
		}
		require.NoError(t, err)
		return g
	}
}

// drain acknowledges what waits for target, and returns how often each identity
// came.
func drain(t testing.TB, q *Queue, target string) map[notification.Identity]int {
	t.Helper()
	seen := make(map[notification.Identity]int)
	reader := impatient(t, q.NewReader(target))
	deadline := time.Now().Add(patience)
	for {
		g, err := take(t.Context(), reader)
		if errors.Is(err, ErrUnavailable) && time.Now().Before(deadline) {
			continue // a cluster may have a leader to elect
		}
		if errors.Is(err, ErrNoMore) {
			if waiting(t, q, target) == 0 {
				return seen
			}
			continue
		}
		require.NoError(t, err)
		require.NoError(t, g.Ack())
		for _, r := range g.Records {
			seen[r.ID]++
		}
		meta, err := g.msg.Metadata()
		require.NoError(t, err)
		if meta.NumPending == 0 && waiting(t, q, target) == 0 {
			return seen
		}
	}
}

func waiting(t testing.TB, q *Queue, target string) int {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		st, err := q.Stats(t.Context(), []string{target})
		if errors.Is(err, ErrUnavailable) && time.Now().Before(deadline) {
			continue
		}
		require.NoError(t, err)
		return int(st.Targets[target].Waiting)
	}
}

func requireRange(t testing.TB, seen map[notification.Identity]int, from, to int) {
	t.Helper()
	var missing, often []int
	for n := from; n < to; n++ {
		switch seen[identity(n)] {
		case 0:
			missing = append(missing, n)
		case 1:
		default:
			often = append(often, n)
		}
	}
	require.Empty(t, missing, "missing")
	require.Empty(t, often, "came more than once")
	require.Len(t, seen, to-from, "others came as well")
}

func requireStats(t testing.TB, q *Queue, waiting int, targets map[string]TargetStats) {
	t.Helper()
	names := slices.Collect(maps.Keys(targets))
	var st Stats
	ok := func() bool { // an acknowledgement may be on its way
		var err error
		st, err = q.Stats(t.Context(), names)
		require.NoError(t, err)
		return st.Waiting == uint64(waiting) && maps.Equal(st.Targets, targets)
	}
	require.Eventually(t, ok, patience, 10*time.Millisecond, "stats: %+v\nwanted: %d %+v", &st, waiting, targets)
}

func requireWaiting(t testing.TB, q *Queue, target string, want int) {
	t.Helper()
	require.Eventually(t, func() bool { return waiting(t, q, target) == want }, patience, 10*time.Millisecond)
}

// impatient makes the store give out again at once what r takes and neither
// extends nor acknowledges.
func impatient(t testing.TB, r *Reader) *Reader {
	t.Helper()
	stream := r.q.streamOf(r.parked)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		// An answer that a cluster lost with its leader never comes.
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		cons, err := r.q.consumer(ctx, r.target, r.parked)
		if !assert.NoError(c, err) {
			return
		}
		cfg := cons.CachedInfo().Config
		cfg.AckWait = 100 * time.Millisecond
		_, err = r.q.js().UpdateConsumer(ctx, stream, cfg)
		assert.NoError(c, err)
	}, patience, 100*time.Millisecond)
	var err error
	r.pull, err = newPuller(r.q.nc(), stream, r.target, externalWait)
	require.NoError(t, err)
	return r
}

func body(size int) []byte { return []byte(strings.Repeat("0123456789abcdef", size/16+1)[:size]) }

func numberOf(r Record) int { return int(binary.BigEndian.Uint64(r.ID[:])) }
