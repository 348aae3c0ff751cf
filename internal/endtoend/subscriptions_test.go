// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// An operator sees the devices of a user, but not where they can be reached,
// and removes one: it gets nothing any more, and with the last one goes the
// registration.
func TestSubscriptionsCommand(t *testing.T) {
	t.Parallel()
	const alice = "user0@example.com"
	service := pushtest.Start(t)
	f, dovecot := startDevices(t, dovecottest.V23, service)
	command := func(args ...string) (string, error) {
		return f.Command(append([]string{"dovecot-push", "subscriptions", "--address", f.Admin}, args...)...)
	}
	type device struct {
		ID, Name     string
		PushService  string `json:"push_service"`
		Confirmed    bool
		LastDelivery *struct {
			Time    time.Time
			Outcome string
		} `json:"last_delivery"`
	}
	list := func() (devices []device) {
		t.Helper()
		out, err := command(alice, "--json")
		require.NoError(t, err, out)
		require.NoError(t, json.Unmarshal([]byte(out), &devices), out)
		return devices
	}
	assert.Empty(t, list())
	out, err := command(alice)
	require.NoError(t, err, out)
	assert.Equal(t, alice+" has no devices\n", out)

	p := f.person(t)
	require.Equal(t, http.StatusOK, p.signIn(alice, "pass"))
	phone, path := p.subscribe(service)
	devices := list()
	require.Len(t, devices, 1)
	assert.Equal(t, path, "/api/subscriptions/"+devices[0].ID)
	assert.Equal(t, "Phone", devices[0].Name)
	assert.Equal(t, strings.TrimPrefix(service.Origin, "https://"), devices[0].PushService)
	assert.True(t, devices[0].Confirmed)
	deliver(t, dovecot, "a mail", alice)
	phone.Wait(2)
	require.Eventually(t, func() bool {
		last := list()[0].LastDelivery
		return last != nil && last.Outcome == "delivered" && !last.Time.IsZero()
	}, waitTimeout, waitTimeout/100)

	for _, form := range [][]string{{alice}, {"USER0@Example.com"}, {alice, "--json"}} {
		out, err := command(form...)
		require.NoError(t, err, out)
		assert.Contains(t, out, "Phone")
		assert.Contains(t, out, "delivered")
		endpoint, err := url.Parse(phone.Endpoint)
		require.NoError(t, err)
		for _, secret := range []string{endpoint.Path, phone.P256DH, phone.Auth} {
			assert.NotContains(t, out, secret)
		}
	}

	for form, problem := range map[string]string{
		"": "accepts 1 arg", alice + " --delete nothing": "no device with this ID",
		"user1@example.com --delete " + devices[0].ID: "no device with this ID", alice + " --delete= ": "404",
	} {
		out, err := command(strings.Fields(form)...)
		require.Error(t, err, form)
		assert.Contains(t, out, problem, form)
	}
	require.Len(t, list(), 1)
	out, err = command(alice, "--delete", devices[0].ID)
	require.NoError(t, err, out)
	assert.Empty(t, list())
	require.Eventually(t, func() bool {
		out, _ := dovecot.Doveadm("mailbox", "metadata", "get", "-s", "-u", alice, "", dovecottest.MetadataKey)
		return !strings.Contains(out, "user="+alice)
	}, waitTimeout, waitTimeout/100)

	require.NoError(t, f.Reload("{\n\tdovecot_push\n}\n"))
	out, err = command(alice)
	require.Error(t, err)
	assert.Contains(t, out, "no target that delivers to devices is configured")
}
