// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

// What is kept for a target that was removed can be seen and dropped by the
// command; a configured target cannot be dropped.
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
	kept := func() []RemovedTarget {
		stats, err := q.Stats(t.Context(), []string{"middleware"})
		require.NoError(t, err)
		return removedTargets(stats)
	}
	require.Equal(t, []RemovedTarget{{Name: "old", Waiting: 1}}, kept())
	assert.Contains(t, statusText(t, &Status{Queue: QueueStatus{Up: true, Removed: kept()}}),
		"\n  kept for the removed target old: 1 waiting, 0 parked\n")

	app := &App{queue: new(atomic.Pointer[queue.Queue])}
	app.queue.Store(q)
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, http.MethodDelete+" "+adminPrefix+"targets", r.Method+" "+r.URL.Path)
		if _, err := adminRoutes["DELETE targets"](app, r); err != nil {
			var refused caddy.APIError
			if assert.ErrorAs(t, err, &refused) {
				http.Error(w, `{"error":"`+http.StatusText(refused.HTTPStatus)+`"}`, refused.HTTPStatus)
			}
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer admin.Close()
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		root := &cobra.Command{Use: "dovecot-push", SilenceErrors: true, SilenceUsage: true}
		flags := root.PersistentFlags()
		flags.String("address", admin.Listener.Addr().String(), "")
		flags.String("config", "", "")
		flags.String("adapter", "", "")
		flags.Bool("json", false, "")
		root.AddCommand(targetsCommand())
		root.SetOut(&out)
		root.SetArgs(append([]string{"targets", "drop"}, args...))
		err := root.Execute()
		return out.String(), err
	}
	_, err = run()
	require.ErrorContains(t, err, "requires at least 1 arg")
	for name, status := range map[string]int{"middleware": http.StatusConflict, "nobody": http.StatusNotFound, "": http.StatusBadRequest} {
		_, err = run(name)
		require.EqualError(t, err, http.StatusText(status), name)
	}
	require.Len(t, kept(), 1)
	out, err := run("old")
	require.NoError(t, err)
	assert.Equal(t, "old dropped\n", out)
	assert.Empty(t, kept())
	_, err = run("old")
	require.EqualError(t, err, http.StatusText(http.StatusNotFound))
}
