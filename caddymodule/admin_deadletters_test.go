// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

// A dead letter of a mail that was found says so.
func TestSourceOfDeadLetters(t *testing.T) {
	q := queuetest.Open(t, queuetest.Config(t.TempDir()))
	release, err := q.Use(t.Context(), []string{"middleware"})
	require.NoError(t, err)
	defer release()
	for uid, source := range []notification.Source{notification.Reported, notification.CatchUp} {
		record := queue.Record{UID: uint32(uid), Accepted: time.Now(), Source: source, Body: []byte(`{}`)}
		require.NoError(t, q.DeadLetter(t.Context(), "middleware", &record, "status_400"))
	}
	a := &App{queue: new(atomic.Pointer[queue.Queue])}
	a.queue.Store(q)
	_, answer := askAdmin(t, adminOf(t, a), "GET dead_letters", "")
	assert.Equal(t, 1, strings.Count(answer, `"source"`), answer)
	assert.Contains(t, answer, `"source":"catch_up"`)
}

// What does not say which dead letters it means changes none.
func TestChangeOfDeadLettersNeedsAChoice(t *testing.T) {
	q := queuetest.Open(t, queuetest.Config(t.TempDir()))
	release, err := q.Use(t.Context(), []string{"middleware"})
	require.NoError(t, err)
	defer release()
	for uid := range 3 {
		record := queue.Record{UID: uint32(uid), Accepted: time.Now(), Body: []byte(`{}`)}
		require.NoError(t, q.DeadLetter(t.Context(), "middleware", &record, "status_400"))
	}
	app := &App{queue: new(atomic.Pointer[queue.Queue])}
	app.queue.Store(q)
	server := adminOf(t, app)
	for _, query := range []string{"", "?number=0", "?number=", "?number=-1", "?from=1", "?all=false", "?target="} {
		status, answer := askAdmin(t, server, "DELETE dead_letters"+query, "")
		assert.Equal(t, http.StatusBadRequest, status, "%s: %s", query, answer)
	}
	_, answer := askAdmin(t, server, "DELETE dead_letters?number=2", "")
	assert.JSONEq(t, `{"done":1,"failed":0}`, answer)
	_, answer = askAdmin(t, server, "DELETE dead_letters?all=true", "")
	assert.JSONEq(t, `{"done":2,"failed":0}`, answer)
}

// Many are changed in batches; what failed is counted, and stays.
func TestReplayInBatches(t *testing.T) {
	q := queuetest.Open(t, queuetest.Config(t.TempDir()))
	release, err := q.Use(t.Context(), []string{"middleware"})
	require.NoError(t, err)
	defer release()
	const many = 2*deadLettersBatch + 7
	for uid := range many {
		record := queue.Record{UID: uint32(uid), Accepted: time.Now(), Body: []byte(`{}`)}
		target := "middleware"
		if uid == deadLettersBatch+3 {
			target = "removed"
		}
		require.NoError(t, q.DeadLetter(t.Context(), target, &record, "status_400"))
	}
	app := &App{queue: new(atomic.Pointer[queue.Queue])}
	app.queue.Store(q)
	server := adminOf(t, app)
	_, answer := askAdmin(t, server, "POST dead_letters/replay?all=true", "")
	lines := strings.Split(strings.TrimSpace(answer), "\n")
	assert.JSONEq(t, fmt.Sprintf(`{"done":%d,"failed":1,"error":"target is not in use: removed"}`, many-1), lines[len(lines)-1])
	left := 0
	for letter, err := range q.DeadLetters(t.Context(), queue.DeadLetterFilter{}) {
		require.NoError(t, err)
		assert.Equal(t, "removed", letter.Target)
		left++
	}
	assert.Equal(t, 1, left)
	stats, err := q.Stats(t.Context(), []string{"middleware"})
	require.NoError(t, err)
	assert.EqualValues(t, many-1, stats.Targets["middleware"].Parked)
}
