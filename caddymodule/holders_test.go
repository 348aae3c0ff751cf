// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// startApp starts the app of a Caddyfile, and nothing else of it.
func startApp(t *testing.T, caddyfile string) *App {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	require.NoError(t, err)
	var cfg caddy.Config
	require.NoError(t, json.Unmarshal(adapted, &cfg))
	ctx, err := caddy.ProvisionContext(&cfg)
	require.NoError(t, err)
	mod, err := ctx.App("dovecot_push")
	require.NoError(t, err)
	app := mod.(*App)
	t.Cleanup(func() { assert.NoError(t, app.Cleanup()) })
	require.NoError(t, app.Start())
	return app
}

const twoConfigurations = `{
	skip_install_trust
	storage file_system STORAGE
	dovecot_push {
		queue embedded {
			path STORAGE/queue
			LIMIT
		}
		CONNECTOR
		deliver webpush {
			contact postmaster@example.com
		}
	}
}
http://127.0.0.1:18008 {
	dovecot_push_api /push {
		login caddy
	}
}
`

// A configuration that cannot be started leaves everything to the one before.
func TestFailedReload(t *testing.T) {
	t.Setenv("TEST_SECRET", "doveadm-secret")
	dir := t.TempDir()
	config := func(limit, connector string) string {
		return strings.NewReplacer("STORAGE", dir, "LIMIT", limit, "CONNECTOR", connector).Replace(twoConfigurations)
	}
	const connector = "doveadm http://127.0.0.1:1 {\napi_secret {env.TEST_SECRET}\n}\n"
	before := startApp(t, config("max_bytes 64MiB", connector))
	after := startApp(t, config("max_bytes 1KiB", ""))
	record := queue.Record{Accepted: time.Now(), Body: []byte(strings.Repeat("x", 4096))}
	_, err := after.accept(t.Context(), record, 0)
	require.ErrorIs(t, err, queue.ErrFull)

	require.NoError(t, after.Cleanup()) // as Caddy does when another app could not be started
	_, err = before.accept(t.Context(), record, 0)
	require.NoError(t, err)

	streams, err := before.provideStreams()
	require.NoError(t, err)
	stream, _, err := streams.openStream(t.Context(), "alice@example.com", "", func() {})
	require.NoError(t, err)
	defer stream.Close()
	require.Eventually(t, func() bool {
		for reg, err := range before.Registrations(t.Context()) {
			if err == nil && reg.User == "alice@example.com" {
				return reg.Subscribed
			}
		}
		return false
	}, 30*time.Second, 10*time.Millisecond)
}

// Who has event streams, or had some a moment ago, stays registered over a
// restart, also without a device.
func TestStreamsAreSubscribers(t *testing.T) {
	t.Setenv("TEST_SECRET", "doveadm-secret")
	config := strings.NewReplacer("STORAGE", t.TempDir(), "LIMIT", "", "CONNECTOR",
		"doveadm http://127.0.0.1:1 {\napi_secret {env.TEST_SECRET}\n}\n").Replace(twoConfigurations)
	const user = "alice@example.com"
	subscribed := func(app *App) bool {
		for reg, err := range app.Registrations(t.Context()) {
			if err == nil && reg.User == user {
				return reg.Subscribed
			}
		}
		return false
	}
	app := startApp(t, config)
	streams, err := app.provideStreams()
	require.NoError(t, err)
	stream, _, err := streams.openStream(t.Context(), user, "", func() {})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return subscribed(app) }, 30*time.Second, 10*time.Millisecond)
	stream.Close()
	require.NoError(t, app.Cleanup())

	// With another value all users are looked at anew.
	app = startApp(t, strings.Replace(config, "deliver webpush", "register on_subscribe {\nvalue user={user.local}\n}\ndeliver webpush", 1))
	require.Eventually(t, func() bool { return app.registrationStatus().Pass != nil }, 30*time.Second, 10*time.Millisecond)
	assert.True(t, subscribed(app))
}
