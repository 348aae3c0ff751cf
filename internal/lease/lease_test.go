// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

var key = queue.Key{"lease"}

func openTable(t *testing.T) *queue.Table {
	t.Helper()
	q, err := queue.Open(t.Context(), queue.Config{
		Embedded: &queue.Embedded{Path: t.TempDir()}, MaxBytes: 1 << 20, MaxAge: time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() { q.Close() })
	return q.Table("leases")
}

func (l *Lease[Note]) mustTake(t *testing.T, note Note) {
	t.Helper()
	_, elsewhere, err := l.Elsewhere(t.Context())
	require.NoError(t, err)
	require.False(t, elsewhere)
	taken, err := l.Take(t.Context(), note)
	require.NoError(t, err)
	require.True(t, taken)
}

func TestOneHolder(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		cfg := Config{Table: openTable(t), Key: key, Exclusive: exclusive}
		first, second := New[string](cfg), New[string](cfg)
		_, elsewhere, err := second.Elsewhere(t.Context())
		require.NoError(t, err)
		require.False(t, elsewhere)
		first.mustTake(t, "begun")
		taken, err := second.Take(t.Context(), "late")
		require.NoError(t, err)
		require.False(t, taken, "the first was faster")
		failure := errors.New("failure")
		err = first.Work(t.Context(), func(context.Context) (string, error) {
			second.changed = time.Now().Add(-time.Hour) // a holder in this process is known to live
			note, elsewhere, err := second.Elsewhere(t.Context())
			require.NoError(t, err)
			assert.True(t, elsewhere)
			assert.Equal(t, "begun", note)
			return "ended", failure
		})
		require.ErrorIs(t, err, failure)
		second.mustTake(t, "again")
		note, elsewhere, err := first.Elsewhere(t.Context())
		require.NoError(t, err)
		assert.True(t, elsewhere)
		assert.Equal(t, "again", note)
		require.NoError(t, second.Work(t.Context(), func(context.Context) (string, error) { return "done", nil }))
		note, elsewhere, err = first.Elsewhere(t.Context())
		require.NoError(t, err)
		assert.False(t, elsewhere)
		assert.Equal(t, "done", note)
	}
}

// A holder that was killed does not renew. Others take its lease after a while, or
// at once where it must have been an earlier process.
func TestKilled(t *testing.T) {
	table := openTable(t)
	dead, err := json.Marshal(entry[string]{Owner: "dead", Held: true, Note: "unfinished"})
	require.NoError(t, err)
	_, err = table.Put(t.Context(), key, dead)
	require.NoError(t, err)
	shared, exclusive := New[string](Config{Table: table, Key: key}), New[string](Config{Table: table, Key: key, Exclusive: true})
	_, elsewhere, err := shared.Elsewhere(t.Context())
	require.NoError(t, err)
	assert.True(t, elsewhere)
	shared.changed = shared.changed.Add(-missedRenewals*renewInterval - time.Second)
	note, elsewhere, err := shared.Elsewhere(t.Context())
	require.NoError(t, err)
	assert.False(t, elsewhere)
	assert.Equal(t, "unfinished", note)
	exclusive.mustTake(t, "")
}

// The holder renews, and stops when it finds the lease with somebody else.
func TestLost(t *testing.T) {
	l := New[string](Config{Table: openTable(t), Key: key})
	l.mustTake(t, "begun")
	taken := l.revision
	err := l.Work(t.Context(), func(ctx context.Context) (string, error) {
		require.Eventually(t, func() bool {
			e, err := l.cfg.Table.Get(ctx, key)
			return err == nil && e.Revision != taken
		}, time.Minute, 10*time.Millisecond, "it is renewed")
		_, err := l.cfg.Table.Put(ctx, key, []byte(`{"owner":"other","running":true}`))
		require.NoError(t, err)
		<-ctx.Done()
		return "", ctx.Err()
	})
	require.ErrorIs(t, err, ErrLost)
	_, elsewhere, err := l.Elsewhere(t.Context())
	require.NoError(t, err)
	assert.True(t, elsewhere, "it does not release what it has not")
}

// What is not a lease is none.
func TestUnreadable(t *testing.T) {
	l := New[string](Config{Table: openTable(t), Key: key})
	_, err := l.cfg.Table.Put(t.Context(), key, []byte("{"))
	require.NoError(t, err)
	l.mustTake(t, "")
}
