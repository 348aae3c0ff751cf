// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

// What does not say which dead letters it means changes none.
func TestChangeOfDeadLettersNeedsAChoice(t *testing.T) {
	q := queuetest.Open(t, queuetest.Config(t.TempDir()))
	release, err := q.Use(t.Context(), []string{"middleware"})
	require.NoError(t, err)
	defer release()
	for uid := range 3 {
		record := queue.Record{UID: uint32(uid), Accepted: time.Now(), Body: []byte(`{}`)}
		require.NoError(t, q.Bury(t.Context(), "middleware", &record, "status_400"))
	}
	app := &App{queue: new(atomic.Pointer[queue.Queue])}
	app.queue.Store(q)
	change := func(query string) (any, error) {
		r := httptest.NewRequest(http.MethodDelete, "/dovecot_push/dead_letters"+query, nil)
		return adminRoutes["DELETE dead_letters"](app, r)
	}
	for _, query := range []string{"", "?number=0", "?number=", "?number=-1", "?from=1", "?all=false", "?target="} {
		_, err := change(query)
		var refused caddy.APIError
		require.ErrorAs(t, err, &refused, query)
		assert.Equal(t, http.StatusBadRequest, refused.HTTPStatus, query)
	}
	changed, err := change("?number=2")
	require.NoError(t, err)
	assert.Equal(t, Changed{Done: 1}, changed)
	changed, err = change("?all=true")
	require.NoError(t, err)
	assert.Equal(t, Changed{Done: 2}, changed)
}
