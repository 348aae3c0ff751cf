// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// The file is a lease as this version stores it, and earlier ones did.
func TestStoredLease(t *testing.T) {
	t.Parallel()
	stored, err := os.ReadFile("testdata/lease-1")
	require.NoError(t, err)
	q := openQueue(t, t.TempDir())
	table := q.Table("streams")
	_, err = table.Put(t.Context(), queue.Key{bob}, stored)
	require.NoError(t, err)
	users, err := Users(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, []string{bob}, users)

	l := openLog(t, q, quick)
	c := newClient(t, l, alice)
	defer c.hangUp()
	l.mu.Lock()
	require.Equal(t, time.UnixMilli(4102444800123), l.topics[bob].lease)
	l.mu.Unlock()
	entry, err := table.Get(t.Context(), queue.Key{alice})
	require.NoError(t, err)
	require.Len(t, entry.Value, len(stored), "what is stored changed")
	until, err := strconv.ParseInt(string(entry.Value), 10, 64)
	require.NoError(t, err)
	require.WithinRange(t, time.UnixMilli(until), time.Now().Add(-time.Hour), time.Now().Add(2*time.Hour))
}
