// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/natsleak"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

func TestMain(m *testing.M) { natsleak.VerifyTestMain(m) }

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

var began = time.Now().Add(-time.Hour).Truncate(time.Second)

// sessionOfAlice is her n-th one, which began so many seconds after the first.
func sessionOfAlice(n byte, after int) Session {
	return Session{ID: SessionID{n}, User: alice, Created: began.Add(time.Duration(after) * time.Second)}
}

func TestRevocations(t *testing.T) {
	dir := t.TempDir()
	ended, other := sessionOfAlice(1, 0), sessionOfAlice(2, 0)
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
		_, err := r.Revoked(t.Context(), sessionOfAlice(1, 0))
		require.NoError(t, err)
		require.NoError(t, r.Revoke(t.Context(), sessionOfAlice(1, 0), time.Now().Add(time.Hour)))
		require.NoError(t, r.Revoke(t.Context(), sessionOfAlice(2, 0), time.Now().Add(3*time.Hour)))
		r.forgetExpired(time.Now().Add(2 * time.Hour))
		require.Eventually(t, func() bool { // what was stored before is still being read back
			entries, users := r.Count()
			return entries == 1 && users == 1
		}, time.Minute, time.Millisecond)
	})
	r := watch(t, openTable(t, dir))
	revoked, err := r.Revoked(t.Context(), sessionOfAlice(1, 0))
	require.NoError(t, err)
	require.False(t, revoked)
	revoked, err = r.Revoked(t.Context(), sessionOfAlice(2, 0))
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
	_, err := r.Revoked(ctx, sessionOfAlice(1, 0))
	require.ErrorIs(t, err, ErrNotRead)
	require.Error(t, r.Revoke(t.Context(), sessionOfAlice(1, 0), time.Now().Add(time.Hour)))
	entries, _ := r.Count()
	require.Zero(t, entries, "nobody gets a success for it")
}

// However often somebody signs in and out, few entries are kept, and no session
// that has ended comes back: neither here nor elsewhere, nor after a restart.
func TestRevocationsOfAUserAreBounded(t *testing.T) {
	dir := t.TempDir()
	const sessions = 200
	until := time.Now().Add(24 * time.Hour)
	bob := Session{ID: SessionID{1}, User: "bob@example.com", Created: began}
	younger := sessionOfAlice(255, sessions+1)
	check := func(r *Revocations) {
		t.Helper()
		for n := range sessions {
			revoked, err := r.Revoked(t.Context(), sessionOfAlice(byte(n), n))
			require.NoError(t, err)
			require.True(t, revoked, n)
		}
		for _, alive := range []Session{bob, younger} {
			revoked, err := r.Revoked(t.Context(), alive)
			require.NoError(t, err)
			require.False(t, revoked, alive.User)
		}
	}
	t.Run("before", func(t *testing.T) {
		table := openTable(t, dir)
		here, there := watch(t, table), watch(t, table)
		for n := range sessions {
			r := here
			if n%2 == 1 {
				r = there
			}
			require.NoError(t, r.Revoke(t.Context(), sessionOfAlice(byte(n), n), until))
			entries, _ := r.Count()
			require.LessOrEqual(t, entries, 2*maxRevocations+1)
		}
		require.Eventually(t, func() bool {
			last, err := here.Revoked(t.Context(), sessionOfAlice(sessions-1, sessions-1))
			return err == nil && last
		}, time.Minute, time.Millisecond)
		check(here)
		stored := 0
		for _, err := range table.All(t.Context(), nil) {
			require.NoError(t, err)
			stored++
		}
		require.LessOrEqual(t, stored, 2*maxRevocations+1)
	})
	r := watch(t, openTable(t, dir))
	check(r)
	r.forgetExpired(until.Add(2 * clockSkew))
	entries, users := r.Count()
	require.Zero(t, entries)
	require.Zero(t, users)
}

// A session that is signed out many times at once is written once.
func TestRevokingTwiceIsOneWrite(t *testing.T) {
	table := openTable(t, t.TempDir())
	r := watch(t, table)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { assert.NoError(t, r.Revoke(t.Context(), sessionOfAlice(1, 0), time.Now().Add(time.Hour))) })
	}
	wg.Wait()
	entry, err := table.Get(t.Context(), sessionKey(alice, SessionID{1}))
	require.NoError(t, err)
	require.EqualValues(t, 1, entry.Revision)
}
