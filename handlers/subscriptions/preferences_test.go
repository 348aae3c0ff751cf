// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscriptions_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// A device has the preferences that it was added with, and those of a PATCH. A
// page that is opened again does not change them.
func TestPreferences(t *testing.T) {
	a := newAPI(t)
	device := a.service.Subscribe(t, a.key())
	body := device.JSON(map[string]any{"name": "Phone", "preferences": map[string]any{"urgency": "normal"}})
	got := a.call(alice, http.MethodPost, "/subscriptions", body)
	require.Equal(t, http.StatusCreated, got.status, got.body)
	assert.Equal(t, subscription.Preferences{Urgency: subscription.Normal}, got.Preferences)
	assert.Equal(t, notification.Sender, got.MaxContent)
	path := "/subscriptions/" + got.ID
	got = a.call(alice, http.MethodPatch, path, `{"name":"My phone","preferences":{"content":"thin","mutedUntil":"forever"}}`)
	require.Equal(t, http.StatusOK, got.status, got.body)
	want := subscription.Preferences{Urgency: subscription.Normal, Content: notification.Thin, MutedUntil: subscription.Forever}
	assert.Equal(t, want, got.Preferences)
	assert.Equal(t, "My phone", got.Name)
	assert.Equal(t, want, a.call(alice, http.MethodPost, "/subscriptions", device.JSON(map[string]any{"name": "Phone"})).Preferences)
	assert.Equal(t, want, a.call(alice, http.MethodGet, "/subscriptions", "").Subscriptions[0].Preferences)
	got = a.call(alice, http.MethodPatch, path, `{"preferences":null}`)
	assert.Contains(t, got.body, `"preferences":{}`)

	for patch, field := range map[string]string{
		`{"content":"full"}`: "preferences.content", // the operator allows less
		`{"sound":"loud"}`:   "preferences",
		`{"quietHours":{"start":"22:00","end":"7","timeZone":"UTC"}}`: "preferences.quietHours.end",
		`{"notFrom":["eve"]}`: "preferences.notFrom",
	} {
		got = a.call(alice, http.MethodPatch, path, `{"name":"x","preferences":`+patch+`}`)
		assert.Equal(t, http.StatusBadRequest, got.status, patch)
		assert.Equal(t, field, got.Field, got.body)
		assert.NotContains(t, got.body, "eve")
	}
	got = a.call(alice, http.MethodGet, path, "")
	assert.Equal(t, "Phone", got.Name, "a request that is refused changes nothing")
	assert.Empty(t, got.Preferences)
	other := a.service.Subscribe(t, a.key()).JSON(map[string]any{"name": "x", "preferences": map[string]any{"sound": 1}})
	assert.Equal(t, http.StatusBadRequest, a.call(alice, http.MethodPost, "/subscriptions", other).status)
	assert.Len(t, a.call(alice, http.MethodGet, "/subscriptions", "").Subscriptions, 1)
	assert.Equal(t, http.StatusNotFound, a.call(bob, http.MethodPatch, path, `{"preferences":null}`).status)
}

// The defaults are told where they can be wanted back: what a PATCH makes of null is
// the default of the server's, not of the operator's.
func TestDefaultsOfDevices(t *testing.T) {
	a := newAPIWith(t, subscription.Preferences{Urgency: subscription.Normal, Folders: []string{"INBOX"}})
	device := a.service.Subscribe(t, a.key())
	got := a.call(alice, http.MethodPost, "/subscriptions", device.JSON(map[string]any{"name": "Phone"}))
	require.Equal(t, http.StatusCreated, got.status, got.body)
	assert.Equal(t, a.defaults, got.Preferences)
	a.call(alice, http.MethodPatch, "/subscriptions/"+got.ID, `{"preferences":null}`)
	list := a.call(alice, http.MethodGet, "/subscriptions", "")
	assert.Equal(t, a.defaults, list.Defaults)
	assert.Empty(t, list.Subscriptions[0].Preferences)
	assert.Contains(t, newAPI(t).call(alice, http.MethodGet, "/subscriptions", "").body, `"defaults":{}`)
}
