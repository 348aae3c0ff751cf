// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

// What is kept for a target that was removed can be seen and dropped; a
// configured target cannot be dropped.
func TestRemovedTargets(t *testing.T) {
	q := queuetest.Open(t, queuetest.Config(t.TempDir()))
	before, err := q.Use(t.Context(), []string{"middleware", "old"})
	require.NoError(t, err)
	_, err = q.Accept(t.Context(), queue.Record{Body: []byte(`{}`)}, 0)
	require.NoError(t, err)
	release, err := q.Use(t.Context(), []string{"middleware"})
	require.NoError(t, err)
	defer release()
	before()
	kept := func() []adminapi.RemovedTarget {
		stats, err := q.Stats(t.Context(), []string{"middleware"})
		require.NoError(t, err)
		return removedTargets(stats)
	}
	require.Equal(t, []adminapi.RemovedTarget{{Name: "old", Waiting: 1}}, kept())

	app := &App{queue: new(atomic.Pointer[queue.Queue])}
	app.queue.Store(q)
	server := adminOf(t, app)
	for name, want := range map[string]int{"middleware": http.StatusConflict, "nobody": http.StatusNotFound, "": http.StatusBadRequest} {
		status, answer := askAdmin(t, server, "DELETE targets?name="+name, "")
		assert.Equal(t, want, status, "%s: %s", name, answer)
	}
	require.Len(t, kept(), 1)
	status, answer := askAdmin(t, server, "DELETE targets?name=old", "")
	require.Equal(t, http.StatusNoContent, status, answer)
	assert.Empty(t, kept())
	status, _ = askAdmin(t, server, "DELETE targets?name=old", "")
	assert.Equal(t, http.StatusNotFound, status)
}
