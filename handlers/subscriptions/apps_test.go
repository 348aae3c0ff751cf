// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscriptions_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An app gives its token, gets a code and gives that back. It keeps its place when
// the token changes, and is listed beside browsers. Its token is never shown.
func TestApps(t *testing.T) {
	a := newAPI(t)
	browser, _ := a.confirmed(alice)
	app := a.apple.Install(t, "com.example.mail", "sandbox")
	got := a.call(alice, http.MethodPost, "/subscriptions", app.JSON(map[string]any{"name": "iPhone", "deviceClientId": "phone-1"}))
	require.Equal(t, http.StatusCreated, got.status, got.body)
	assert.Equal(t, []string{"apns", "com.example.mail", "sandbox", ""}, []string{got.Kind, got.App, got.Environment, got.EndpointHost})
	assert.NotContains(t, got.body, app.Token)
	code := func(text []byte) string {
		var m struct{ VerificationCode string }
		require.NoError(t, json.Unmarshal(text, &m))
		return m.VerificationCode
	}
	path := "/subscriptions/" + got.ID
	assert.Equal(t, http.StatusConflict, a.call(alice, http.MethodPost, path+"/test", "").status, "it has not confirmed")
	got = a.call(alice, http.MethodPatch, path, `{"verificationCode":"`+code(app.Wait(1)[0].Text)+`"}`)
	require.True(t, got.Confirmed, got.body)
	assert.Equal(t, http.StatusAccepted, a.call(alice, http.MethodPost, path+"/test", "").status)
	app.Wait(2)

	moved := a.apple.Install(t, "com.example.mail", "")
	got = a.call(alice, http.MethodPost, "/subscriptions", moved.JSON(map[string]any{"name": "iPhone", "deviceClientId": "phone-1"}))
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.Equal(t, []any{path, false, ""}, []any{"/subscriptions/" + got.ID, got.Confirmed, got.Environment})
	again := a.apple.Install(t, "com.example.mail", "")
	got = a.call(alice, http.MethodPatch, path, again.JSON(nil))
	require.Equal(t, http.StatusOK, got.status, got.body)
	got = a.call(alice, http.MethodPatch, path, `{"verificationCode":"`+code(again.Wait(1)[0].Text)+`"}`)
	require.True(t, got.Confirmed, got.body)

	got = a.call(alice, http.MethodGet, "/subscriptions", "")
	require.Len(t, got.Subscriptions, 2)
	assert.Equal(t, []string{"", "apns"}, []string{got.Subscriptions[0].Kind, got.Subscriptions[1].Kind})
	for _, secret := range []string{again.Token, browser.Endpoint, app.Auth} {
		assert.NotContains(t, got.body, secret)
	}
	again.Uninstall()
	assert.Equal(t, http.StatusGone, a.call(alice, http.MethodPost, path+"/test", "").status)
	assert.Len(t, a.call(alice, http.MethodGet, "/subscriptions", "").Subscriptions, 1)
}

func TestAppsThatAreNone(t *testing.T) {
	a := newAPI(t)
	app := a.apple.Install(t, "com.example.mail", "")
	for field, members := range map[string]map[string]any{
		"kind":        {"kind": "fcm"},
		"token":       {"token": "x"},
		"app":         {"app": "com.example.other"},
		"environment": {"environment": "test"},
		"keys":        {"keys": map[string]string{}},
		"keys.p256dh": {"keys": map[string]string{"p256dh": "AAAA", "auth": "AAAA"}},
		"name":        {},
	} {
		if field != "name" {
			members["name"] = "iPhone"
		}
		got := a.call(alice, http.MethodPost, "/subscriptions", app.JSON(members))
		assert.Equal(t, http.StatusBadRequest, got.status, got.body)
		assert.Equal(t, field, got.Field, got.body)
		assert.NotContains(t, got.body, app.Token)
	}
	stranger := a.apple.Install(t, "com.example.mail", "")
	stranger.Uninstall()
	assert.Equal(t, http.StatusGone, a.call(alice, http.MethodPost, "/subscriptions", stranger.JSON(map[string]any{"name": "iPhone"})).status)
	assert.Empty(t, a.call(alice, http.MethodGet, "/subscriptions", "").Subscriptions, "what cannot be reached is not kept")
	assert.Zero(t, app.Got())
}
