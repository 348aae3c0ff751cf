// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

func TestMain(m *testing.M) { queuetest.Main(m) }

func openTable(t *testing.T, dir string) *queue.Table {
	t.Helper()
	return queuetest.Open(t, queuetest.Config(dir)).Table("sessions")
}

func watch(t *testing.T, table *queue.Table) *Revocations {
	t.Helper()
	r := WatchRevocations(table, slog.New(slog.DiscardHandler))
	t.Cleanup(r.Close)
	return r
}

func TestRevocations(t *testing.T) {
	dir := t.TempDir()
	ended, other := SessionID{1}, SessionID{2}
	t.Run("before", func(t *testing.T) {
		table := openTable(t, dir)
		here, there := watch(t, table), watch(t, table)
		revoked, err := here.Revoked(t.Context(), ended)
		require.NoError(t, err)
		require.False(t, revoked)
		require.NoError(t, here.Revoke(t.Context(), ended, time.Now().Add(time.Hour)))
		revoked, err = here.Revoked(t.Context(), ended)
		require.NoError(t, err)
		require.True(t, revoked, "at once")
		require.Eventually(t, func() bool {
			revoked, err := there.Revoked(t.Context(), ended)
			return err == nil && revoked
		}, time.Minute, time.Millisecond)
	})
	r := watch(t, openTable(t, dir))
	revoked, err := r.Revoked(t.Context(), ended)
	require.NoError(t, err)
	require.True(t, revoked, "after a restart")
	revoked, err = r.Revoked(t.Context(), other)
	require.NoError(t, err)
	require.False(t, revoked)
}

func TestRevocationsAreForgotten(t *testing.T) {
	dir := t.TempDir()
	t.Run("before", func(t *testing.T) {
		r := watch(t, openTable(t, dir))
		_, err := r.Revoked(t.Context(), SessionID{1})
		require.NoError(t, err)
		require.NoError(t, r.Revoke(t.Context(), SessionID{1}, time.Now().Add(time.Hour)))
		require.NoError(t, r.Revoke(t.Context(), SessionID{2}, time.Now().Add(3*time.Hour)))
		r.forgetExpired(time.Now().Add(2 * time.Hour))
		require.Len(t, r.until, 1)
	})
	r := watch(t, openTable(t, dir))
	revoked, err := r.Revoked(t.Context(), SessionID{1})
	require.NoError(t, err)
	require.False(t, revoked)
	revoked, err = r.Revoked(t.Context(), SessionID{2})
	require.NoError(t, err)
	require.True(t, revoked)
}

// Who cannot find out does not let anybody in.
func TestRevocationsAway(t *testing.T) {
	q := queuetest.Open(t, queuetest.Config(t.TempDir()))
	require.NoError(t, q.Close())
	r := watch(t, q.Table("sessions"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := r.Revoked(ctx, SessionID{1})
	require.ErrorIs(t, err, ErrNotRead)
	require.Error(t, r.Revoke(t.Context(), SessionID{1}, time.Now().Add(time.Hour)))
	_, ok := r.until[SessionID{1}]
	require.False(t, ok, "nobody is told that it has ended")
}
