// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t)
		table := q.Table("devices")
		key := Key{"jürgen@example.com", "a/b c.*>\x00"}

		_, err := table.Get(t.Context(), key)
		require.ErrorIs(t, err, ErrNotFound)
		require.NoError(t, table.Delete(t.Context(), key, 0), "what is not there can be deleted")

		first, err := table.Create(t.Context(), key, []byte("1"))
		require.NoError(t, err)
		_, err = table.Create(t.Context(), key, []byte("2"))
		require.ErrorIs(t, err, ErrExists)

		second, err := table.Update(t.Context(), key, []byte("2"), first)
		require.NoError(t, err)
		_, err = table.Update(t.Context(), key, []byte("3"), first)
		require.ErrorIs(t, err, ErrChanged)

		entry, err := table.Get(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, Entry{Key: key, Value: []byte("2"), Revision: second}, entry)

		require.ErrorIs(t, table.Delete(t.Context(), key, first), ErrChanged)
		require.NoError(t, table.Delete(t.Context(), key, second))
		_, err = table.Get(t.Context(), key)
		require.ErrorIs(t, err, ErrNotFound)
		_, err = table.Update(t.Context(), key, []byte("3"), second)
		require.ErrorIs(t, err, ErrChanged)
		_, err = table.Create(t.Context(), key, []byte("4"))
		require.NoError(t, err, "a deleted entry can be made again")

		_, err = q.Table("others").Get(t.Context(), key)
		require.ErrorIs(t, err, ErrNotFound, "tables are apart")
	})
}

// An entry with a lifetime is there once, and gone afterwards.
func TestTableForgets(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		table, key := s.open(t).Table("t"), Key{"a"}
		_, err := table.Create(t.Context(), Key{"b"}, nil)
		require.NoError(t, err)
		_, err = table.CreateFor(t.Context(), key, []byte("1"), time.Millisecond)
		require.NoError(t, err)
		_, err = table.CreateFor(t.Context(), key, []byte("2"), time.Hour)
		require.ErrorIs(t, err, ErrExists)
		require.Eventually(t, func() bool {
			_, err = table.CreateFor(t.Context(), key, []byte("2"), time.Hour)
			return err == nil
		}, time.Minute, 50*time.Millisecond)
		entry, err := table.Get(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, "2", string(entry.Value))
		require.NoError(t, table.Delete(t.Context(), key, 0))
		_, err = table.CreateFor(t.Context(), key, nil, time.Hour)
		require.NoError(t, err, "a deleted entry can be made again")
		_, err = table.Get(t.Context(), Key{"b"})
		require.NoError(t, err)
	})
}

func TestTableSurvivesRestart(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t)
		_, err := q.Table("t").Put(t.Context(), Key{"a"}, []byte("kept"))
		require.NoError(t, err)
		require.NoError(t, q.Close())

		entry, err := s.open(t).Table("t").Get(t.Context(), Key{"a"})
		require.NoError(t, err)
		require.Equal(t, "kept", string(entry.Value))
	})
}

func TestTableListsByPrefix(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		table := s.open(t).Table("t")
		require.Empty(t, keysOf(t, table, nil))
		for _, key := range []Key{{"a", "1"}, {"a", "2"}, {"ab", "1"}, {"b", "1"}, {"a", "3"}} {
			_, err := table.Put(t.Context(), key, nil)
			require.NoError(t, err)
		}
		require.NoError(t, table.Delete(t.Context(), Key{"a", "2"}, 0))
		require.Equal(t, []string{"a/1", "a/3"}, keysOf(t, table, Key{"a"}))
		require.Len(t, keysOf(t, table, nil), 4)
		require.Empty(t, keysOf(t, table, Key{"c"}))
	})
}

func keysOf(t *testing.T, table *Table, prefix Key) []string {
	t.Helper()
	var keys []string
	for entry, err := range table.All(t.Context(), prefix) {
		require.NoError(t, err)
		keys = append(keys, strings.Join(entry.Key, "/"))
	}
	return keys
}

// tableMirror keeps what a watcher tells.
type tableMirror struct {
	mu      sync.Mutex
	entries map[string]string
	current bool
}

func (m *tableMirror) watch(ctx context.Context, table *Table) {
	for ctx.Err() == nil {
		_ = table.Watch(ctx, nil, func(e Entry) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if e.Deleted {
				delete(m.entries, e.Key[0])
			} else {
				m.entries[e.Key[0]] = string(e.Value)
			}
		}, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.current = true
		})
	}
}

func (m *tableMirror) is(want map[string]string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current && assert.ObjectsAreEqual(want, m.entries)
}

func TestTableWatch(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t)
		table := q.Table("t")
		_, err := table.Put(t.Context(), Key{"old"}, []byte("1"))
		require.NoError(t, err)

		ctx, cancel := context.WithCancel(t.Context())
		mirror := &tableMirror{entries: make(map[string]string)}
		var wg sync.WaitGroup
		wg.Go(func() { mirror.watch(ctx, table) })
		defer wg.Wait()
		defer cancel()

		require.Eventually(t, func() bool { return mirror.is(map[string]string{"old": "1"}) }, time.Minute, time.Millisecond)
		// Another one that shares the store, where it can be shared.
		writer := table
		if s.config.External != nil {
			writer = s.open(t).Table("t")
		}
		_, err = writer.Put(t.Context(), Key{"new"}, []byte("2"))
		require.NoError(t, err)
		require.NoError(t, writer.Delete(t.Context(), Key{"old"}, 0))
		require.Eventually(t, func() bool { return mirror.is(map[string]string{"new": "2"}) }, time.Minute, time.Millisecond)

		if s.config.Embedded != nil { // reopened while somebody watches
			cfg := s.config
			cfg.Embedded = &Embedded{Path: cfg.Embedded.Path, Sync: time.Second}
			require.NoError(t, q.Reconcile(t.Context(), cfg))
			_, err = table.Put(t.Context(), Key{"after"}, []byte("3"))
			require.NoError(t, err)
			require.Eventually(t, func() bool { return mirror.is(map[string]string{"new": "2", "after": "3"}) }, time.Minute, time.Millisecond)
		}
	})
}

// What cannot be a key is refused here: a server of NATS closes the connection
// of everybody who shares it for a key of 3,000 bytes.
func TestTableKeys(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		table := s.open(t).Table("keys")
		for _, key := range []Key{nil, {}, {""}, {"a", ""}, {strings.Repeat("x", 3000)}, {strings.Repeat("x", 2251)}, {strings.Repeat("é", 1<<20)}} {
			_, err := table.Get(t.Context(), key)
			require.ErrorIs(t, err, ErrKey)
			_, err = table.Put(t.Context(), key, nil)
			require.ErrorIs(t, err, ErrKey)
			_, err = table.Create(t.Context(), key, nil)
			require.ErrorIs(t, err, ErrKey)
			_, err = table.Update(t.Context(), key, nil, 1)
			require.ErrorIs(t, err, ErrKey)
			require.ErrorIs(t, table.Delete(t.Context(), key, 0), ErrKey)
			for _, err := range table.All(t.Context(), key) {
				if len(key) > 0 {
					require.ErrorIs(t, err, ErrKey)
				}
			}
		}
		longest := Key{strings.Repeat("x", 1125), strings.Repeat("y", 1124)}
		revision, err := table.Put(t.Context(), longest, []byte("1"))
		require.NoError(t, err)
		entry, err := table.Get(t.Context(), longest)
		require.NoError(t, err)
		require.Equal(t, Entry{Key: longest, Value: []byte("1"), Revision: revision}, entry)
		require.NoError(t, table.Delete(t.Context(), longest, revision))
	})
}

func TestTableUnavailable(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	q := s.open(t)
	require.NoError(t, q.Close())
	_, err := q.Table("t").Put(t.Context(), Key{"a"}, nil)
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestTableOfManyEntries(t *testing.T) {
	t.Parallel()
	table := embeddedStore(t).open(t).Table("t")
	const entries = 2000
	var wg sync.WaitGroup
	for part := range 8 {
		wg.Go(func() {
			for i := part; i < entries; i += 8 {
				_, err := table.Put(t.Context(), Key{"user", strconv.Itoa(i)}, []byte("x"))
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	require.Len(t, keysOf(t, table, Key{"user"}), entries)
}
