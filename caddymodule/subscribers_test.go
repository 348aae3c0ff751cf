// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
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
	require.Eventually(t, func() bool { return isSubscribed(t, before, "alice@example.com") }, time.Minute, 10*time.Millisecond)
}

func isSubscribed(t *testing.T, app *App, user string) bool {
	for reg, err := range app.Registrations(t.Context()) {
		if err == nil && reg.User == user {
			return reg.Subscribed
		}
	}
	return false
}

// Who has event streams, or had some a moment ago, stays registered over a
// restart, also without a device.
func TestStreamsAreSubscribers(t *testing.T) {
	t.Setenv("TEST_SECRET", "doveadm-secret")
	config := strings.NewReplacer("STORAGE", t.TempDir(), "LIMIT", "", "CONNECTOR",
		"doveadm http://127.0.0.1:1 {\napi_secret {env.TEST_SECRET}\n}\n").Replace(twoConfigurations)
	const user = "alice@example.com"
	subscribed := func(app *App) bool { return isSubscribed(t, app, user) }
	app := startApp(t, config)
	streams, err := app.provideStreams()
	require.NoError(t, err)
	stream, _, err := streams.openStream(t.Context(), user, "", func() {})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return subscribed(app) }, time.Minute, 10*time.Millisecond)
	stream.Close()
	require.NoError(t, app.Cleanup())

	// With another value all users are looked at again.
	app = startApp(t, strings.Replace(config, "deliver webpush", "register on_subscribe {\nvalue user={user.local}\n}\ndeliver webpush", 1))
	require.Eventually(t, func() bool { return app.registrationStatus().Pass != nil }, time.Minute, 10*time.Millisecond)
	assert.True(t, subscribed(app))
}

// Without "deliver webpush" devices get nothing, so they need no registration.
// They come back with it.
func TestDevicesAreSubscribers(t *testing.T) {
	t.Setenv("TEST_SECRET", "doveadm-secret")
	with := strings.NewReplacer("STORAGE", t.TempDir(), "LIMIT", "", "CONNECTOR",
		"doveadm http://127.0.0.1:1 {\napi_secret {env.TEST_SECRET}\n}\n").Replace(twoConfigurations)
	without := strings.Replace(with, "deliver webpush", "deliver webhook chat https://hooks.example.com", 1)
	without = strings.Replace(without, "contact postmaster@example.com", "content thin", 1)
	const user = "alice@example.com"
	becomes := func(app *App, want bool) {
		t.Helper()
		require.Eventually(t, func() bool { return isSubscribed(t, app, user) == want }, time.Minute, 10*time.Millisecond)
	}
	app := startApp(t, with)
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	store := app.devices.store
	phone, _, err := store.Add(t.Context(), user, subscription.Device{Name: "phone", Address: subscription.Address{
		Endpoint: "https://push.example.net/1", Keys: subscription.Keys{P256DH: key.PublicKey().Bytes(), Auth: make([]byte, 16)}, ServerKey: "key",
	}})
	require.NoError(t, err)
	_, err = store.Confirm(t.Context(), user, phone.ID, phone.VerificationCode)
	require.NoError(t, err)
	becomes(app, true)
	require.NoError(t, app.Cleanup())

	app = startApp(t, without)
	becomes(app, false)
	require.NoError(t, app.Cleanup())

	becomes(startApp(t, with), true)
}
