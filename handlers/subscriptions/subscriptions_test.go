// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscriptions_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/subscriptions"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func TestLifeOfADevice(t *testing.T) {
	a := newAPI(t)
	device := a.service.Subscribe(t, a.key())
	got := a.call(alice, http.MethodPost, "/subscriptions", device.JSON(map[string]any{"name": "My phone", "deviceClientId": "x-1"}))
	require.Equal(t, http.StatusCreated, got.status, got.body)
	assert.Equal(t, "subscriptions/"+got.ID, got.header.Get("Location"))
	assert.Equal(t, "My phone", got.Name)
	assert.Equal(t, "x-1", got.DeviceClientID)
	assert.Equal(t, strings.TrimPrefix(a.service.Origin, "https://"), got.EndpointHost)
	assert.False(t, got.Confirmed)
	assert.WithinDuration(t, time.Now().Add(subscription.UnconfirmedLifetime), got.Expires, time.Minute)
	assert.Contains(t, got.body, `"lastDelivery":null`)
	path := "/subscriptions/" + got.ID

	first := device.Wait(1)[0]
	assert.Equal(t, got.ID, a.member(string(first.Plain), "pushSubscriptionId"))
	assert.Equal(t, 3600, first.TTL)
	wrong := a.call(alice, http.MethodPatch, path, `{"verificationCode":"wrong"}`)
	assert.Equal(t, http.StatusBadRequest, wrong.status)
	assert.Equal(t, "verificationCode", wrong.Field)
	assert.Equal(t, http.StatusConflict, a.call(alice, http.MethodPost, path+"/test", "").status, "nothing before it has confirmed")
	got = a.call(alice, http.MethodPatch, path, `{"verificationCode":"`+a.code(device)+`"}`)
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.True(t, got.Confirmed)
	assert.WithinDuration(t, time.Now().Add(subscription.Lifetime), got.Expires, time.Minute)

	got = a.call(alice, http.MethodPost, path+"/test", "")
	assert.Equal(t, http.StatusAccepted, got.status)
	assert.Empty(t, got.body)
	assert.Equal(t, "Test", a.member(string(device.Wait(2)[1].Plain), "@type"))

	got = a.call(alice, http.MethodPatch, path, `{"name":"Phone"}`)
	assert.Equal(t, http.StatusOK, got.status)
	got = a.call(alice, http.MethodGet, "/subscriptions", "")
	require.Len(t, got.Subscriptions, 1)
	assert.Equal(t, "Phone", got.Subscriptions[0].Name)
	require.NotNil(t, got.Subscriptions[0].LastDelivery)
	assert.Equal(t, "delivered", got.Subscriptions[0].LastDelivery.Outcome)
	one := a.call(alice, http.MethodGet, path, "")
	assert.Equal(t, got.Subscriptions[0], one.sub)
	for _, secret := range []string{device.Endpoint, "/push/", device.Auth, device.P256DH, string(first.Plain)} {
		assert.NotContains(t, got.body+one.body, secret)
	}

	assert.Equal(t, http.StatusNoContent, a.call(alice, http.MethodDelete, path, "").status)
	assert.Equal(t, http.StatusNotFound, a.call(alice, http.MethodDelete, path, "").status)
	assert.JSONEq(t, `{"subscriptions":[],"defaults":{}}`, a.call(alice, http.MethodGet, "/subscriptions", "").body)
	assert.Equal(t, []subscriptions.Event{"added", "refused", "refused", "confirmed", "tested", "renamed", "removed", "refused"}, a.events)
}

// A page tells of its browser's subscription whenever it is opened.
func TestKnownDevice(t *testing.T) {
	a := newAPI(t)
	device, id := a.confirmed(alice)
	got := a.call(alice, http.MethodPost, "/subscriptions", device.JSON(map[string]any{"name": "Another name"}))
	assert.Equal(t, http.StatusOK, got.status)
	assert.Equal(t, id, got.ID)
	assert.True(t, got.Confirmed)
	assert.Equal(t, "Another name", got.Name)
	assert.Equal(t, 1, device.Got(), "it is not asked again")
}

func TestRenewal(t *testing.T) {
	a := newAPI(t)
	device, id := a.confirmed(alice)
	path := "/subscriptions/" + id
	moved := a.service.Subscribe(t, a.key())
	got := a.call(alice, http.MethodPatch, path, moved.JSON(nil))
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.Equal(t, id, got.ID)
	assert.False(t, got.Confirmed)
	got = a.call(alice, http.MethodPatch, path, `{"verificationCode":"`+a.code(moved)+`"}`)
	assert.True(t, got.Confirmed)
	assert.Equal(t, "Phone", got.Name)
	assert.Equal(t, 1, device.Got())

	// A push service that cannot be reached costs no device that was there.
	a.service.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	got = a.call(alice, http.MethodPatch, path, device.JSON(nil))
	assert.Equal(t, http.StatusBadGateway, got.status)
	assert.Len(t, a.call(alice, http.MethodGet, "/subscriptions", "").Subscriptions, 1)
	a.service.Answer(nil)
	device.Unsubscribe()
	assert.Equal(t, http.StatusGone, a.call(alice, http.MethodPatch, path, device.JSON(nil)).status)
	assert.Empty(t, a.call(alice, http.MethodGet, "/subscriptions", "").Subscriptions)
}

// A page that was opened before a rotation subscribes with the key before,
// however the push service says that another one is wrong.
func TestSubscribedWithAnOlderKey(t *testing.T) {
	for name, answer := range map[string]*pushtest.Answer{
		"403": nil,
		"401": {Status: 401, Body: `{"errno":109}`},
		"400": {Status: 400, Body: `{"reason":"VapidPkHashMismatch"}`},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			a.service.Speak(pushtest.Dialect{OtherKey: answer})
			subscribedWithAnOlderKey(t, a, "status_"+name)
		})
	}
}

func subscribedWithAnOlderKey(t *testing.T, a *api, refusal string) {
	t.Helper()
	device := a.service.Subscribe(t, a.key())
	old, oldID := a.confirmed(alice)
	a.rotate()
	got := a.call(alice, http.MethodPost, "/subscriptions", device.JSON(map[string]any{"name": "Phone"}))
	require.Equal(t, http.StatusCreated, got.status, got.body)
	path := "/subscriptions/" + got.ID
	require.True(t, a.call(alice, http.MethodPatch, path, `{"verificationCode":"`+a.code(device)+`"}`).Confirmed)
	assert.Equal(t, http.StatusAccepted, a.call(alice, http.MethodPost, path+"/test", "").status)
	assert.Equal(t, http.StatusAccepted, a.call(alice, http.MethodPost, "/subscriptions/"+oldID+"/test", "").status)
	old.Wait(2)
	_, newID := a.confirmed(alice)
	assert.Equal(t, http.StatusAccepted, a.call(alice, http.MethodPost, "/subscriptions/"+newID+"/test", "").status)

	stranger := a.service.Subscribe(t, "another server's key")
	got = a.call(alice, http.MethodPost, "/subscriptions", stranger.JSON(map[string]any{"name": "Phone"}))
	assert.Equal(t, http.StatusBadGateway, got.status)
	assert.Contains(t, got.Detail, refusal)
	assert.Len(t, a.call(alice, http.MethodGet, "/subscriptions", "").Subscriptions, 3, "it is not kept")
}

// Whatever a request asks for, it is about the devices of the user who asks.
func TestDevicesOfOthers(t *testing.T) {
	a := newAPI(t)
	device, id := a.confirmed(alice)
	path := "/subscriptions/" + id
	before := a.call(alice, http.MethodGet, path, "").body
	for _, user := range []string{bob, "", "ALICE@example.com", "alice@example.com ", "alice@example.com\x00", "*"} {
		want := http.StatusNotFound
		if user == "" {
			want = http.StatusUnauthorized
		}
		for _, r := range []struct{ method, path, body string }{
			{http.MethodGet, path, ""},
			{http.MethodDelete, path, ""},
			{http.MethodPost, path + "/test", ""},
			{http.MethodPatch, path, `{"name":"Mine"}`},
			{http.MethodPatch, path, `{"verificationCode":"x"}`},
			{http.MethodPatch, path, a.service.Subscribe(t, a.key()).JSON(nil)},
		} {
			assert.Equal(t, want, a.call(user, r.method, r.path, r.body).status, "%q %s %s", user, r.method, r.body)
		}
		if user != "" {
			assert.Empty(t, a.call(user, http.MethodGet, "/subscriptions", "").Subscriptions)
		}
	}
	assert.Equal(t, before, a.call(alice, http.MethodGet, path, "").body)
	assert.Equal(t, 1, device.Got())
	assert.Equal(t, http.StatusUnauthorized, a.call("", http.MethodGet, "/subscriptions", "").status)
	assert.Equal(t, http.StatusUnauthorized, a.call("", http.MethodPost, "/subscriptions", device.JSON(nil)).status)
}

func TestHostileEndpoints(t *testing.T) {
	a := newAPI(t)
	text, err := os.ReadFile("../../internal/outbound/testdata/hostile.json")
	require.NoError(t, err)
	var hostile map[string][]string
	require.NoError(t, json.Unmarshal(text, &hostile))
	_, id := a.confirmed(alice)
	device, posts, n := a.service.Subscribe(t, a.key()), a.service.Posts(), 0
	for reason, endpoints := range hostile {
		for _, endpoint := range endpoints {
			n++
			members := map[string]any{"name": "Phone", "endpoint": endpoint}
			got := a.call(alice, http.MethodPost, "/subscriptions", device.JSON(members))
			assert.Equal(t, http.StatusBadRequest, got.status, "%s %q", reason, endpoint)
			assert.Equal(t, "endpoint", got.Field)
			got = a.call(alice, http.MethodPatch, "/subscriptions/"+id, device.JSON(members))
			if endpoint != "" {
				assert.Equal(t, http.StatusBadRequest, got.status, "%s %q", reason, endpoint)
			}
		}
	}
	assert.Greater(t, n, 60)
	assert.Equal(t, posts, a.service.Posts())
	assert.Len(t, a.call(alice, http.MethodGet, "/subscriptions", "").Subscriptions, 1)
}

// The page of a device is where its notifications lead: nobody can have another site
// there than the one that is used.
func TestPageOfADevice(t *testing.T) {
	a := newAPI(t)
	device, id := a.confirmed(alice)
	tell := func(page, lang, origin string) answer {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPatch, "/subscriptions/"+id, strings.NewReader(device.JSON(map[string]any{"page": page, "lang": lang})))
		r.Header.Set("Content-Type", "application/json")
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		return a.serve(alice, r)
	}
	const site = "https://mail.example.com"
	for _, page := range []string{site + "/", site + "/push/", ""} {
		for _, origin := range []string{site, ""} {
			got := tell(page, "pt-BR", origin)
			require.Equal(t, http.StatusOK, got.status, got.body)
			assert.True(t, got.Confirmed, "it is where it was")
			d, err := a.store.Find(alice, id)
			require.NoError(t, err)
			assert.Equal(t, []string{page, "pt-BR"}, []string{d.Page, d.Lang})
		}
	}
	assert.Equal(t, http.StatusOK, tell("http://localhost:8080/push/", "", "http://localhost:8080").status)
	for _, page := range []string{
		"https://evil.example/", site, site + ".evil.example/", site + "@evil.example/", "https://evil.example/" + site + "/", "http://mail.example.com/",
	} {
		got := tell(page, "", site)
		assert.Equal(t, []any{http.StatusBadRequest, "page"}, []any{got.status, got.Field}, page)
	}
	got := tell("javascript:alert(1)", "", "")
	assert.Equal(t, []any{http.StatusBadRequest, "page"}, []any{got.status, got.Field})
}

// What a name resolves to is found out when it is connected to.
func TestNameOfAPrivateAddress(t *testing.T) {
	a := newAPI(t)
	device := a.service.Subscribe(t, a.key())
	a.service.Answer(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:2019/load", http.StatusTemporaryRedirect)
	})
	got := a.call(alice, http.MethodPost, "/subscriptions", device.JSON(map[string]any{"name": "Phone"}))
	assert.Equal(t, http.StatusBadGateway, got.status, "redirects are not followed")
	assert.Empty(t, a.call(alice, http.MethodGet, "/subscriptions", "").Subscriptions)
}

func TestLimits(t *testing.T) {
	a := newAPI(t)
	for i := range subscription.MaxPerUser {
		_, _, err := a.store.Add(t.Context(), alice, newDevice(t, a, fmt.Sprint("device ", i)))
		require.NoError(t, err)
	}
	device := a.service.Subscribe(t, a.key())
	got := a.call(alice, http.MethodPost, "/subscriptions", device.JSON(map[string]any{"name": "Phone"}))
	assert.Equal(t, http.StatusConflict, got.status)
	assert.Zero(t, device.Got())
	_, id := a.confirmed(bob)

	// One user cannot make this server send without end.
	for range 100 {
		if got = a.call(bob, http.MethodPost, "/subscriptions/"+id+"/test", ""); got.status != http.StatusAccepted {
			break
		}
	}
	assert.Equal(t, http.StatusTooManyRequests, got.status)
	assert.NotEmpty(t, got.header.Get("Retry-After"))
	assert.Equal(t, http.StatusTooManyRequests, a.call(bob, http.MethodPost, "/subscriptions", device.JSON(map[string]any{"name": "Phone"})).status)
	_, _ = a.confirmed("carol@example.com")

	// Nor write to the disk.
	written := 0
	for i := range 100 {
		if got = a.call(bob, http.MethodPatch, "/subscriptions/"+id, fmt.Sprintf(`{"name":"Phone %d"}`, i)); got.status != http.StatusOK {
			break
		}
		written++
	}
	assert.Equal(t, http.StatusTooManyRequests, got.status)
	assert.Less(t, written, 40)
}

func newDevice(t *testing.T, a *api, name string) subscription.Device {
	t.Helper()
	d := a.service.Subscribe(t, a.key())
	var keys subscription.Keys
	require.NoError(t, keys.P256DH.UnmarshalText([]byte(d.P256DH)))
	require.NoError(t, keys.Auth.UnmarshalText([]byte(d.Auth)))
	return subscription.Device{Name: name, Address: subscription.Address{Endpoint: d.Endpoint, Keys: keys, ServerKey: a.key()}}
}

func TestBodies(t *testing.T) {
	a := newAPI(t)
	device, id := a.confirmed(alice)
	fresh := a.service.Subscribe(t, a.key())
	with := func(members map[string]any) string { return fresh.JSON(members) }
	for name, test := range map[string]struct {
		body, field string
		status      int
	}{
		"no JSON":               {"{", "", 400},
		"empty":                 {" ", "", 400},
		"an array":              {"[]", "", 400},
		"endpoint is a number":  {`{"endpoint":1}`, "endpoint", 400},
		"no name":               {with(nil), "name", 400},
		"long name":             {with(map[string]any{"name": strings.Repeat("x", 101)}), "name", 400},
		"keys is a text":        {`{"name":"x","keys":"y"}`, "keys", 400},
		"no base64":             {with(map[string]any{"name": "x", "keys": map[string]string{"p256dh": "!", "auth": fresh.Auth}}), "keys", 400},
		"no point":              {with(map[string]any{"name": "x", "keys": map[string]string{"p256dh": "AA", "auth": fresh.Auth}}), "keys.p256dh", 400},
		"no keys":               {with(map[string]any{"name": "x", "keys": nil}), "keys.p256dh", 400},
		"short secret":          {with(map[string]any{"name": "x", "keys": map[string]string{"p256dh": fresh.P256DH, "auth": "AA"}}), "keys.auth", 400},
		"over":                  {with(map[string]any{"name": "x", "expirationTime": 1}), "expirationTime", 400},
		"deviceClientId":        {with(map[string]any{"name": "x", "deviceClientId": "\n"}), "deviceClientId", 400},
		"a megabyte":            {with(map[string]any{"name": strings.Repeat("x", 1<<20)}), "", 413},
		"a megabyte of nothing": {strings.Repeat(" ", 1<<20), "", 413},
		"many brackets":         {strings.Repeat("[", 10_000), "", 400},
	} {
		t.Run(name, func(t *testing.T) {
			a.t = t
			got := a.call(alice, http.MethodPost, "/subscriptions", test.body)
			assert.Equal(t, test.status, got.status, got.body)
			assert.Equal(t, test.field, got.Field, got.Detail)
		})
	}
	a.t = t
	got := a.call(alice, http.MethodPost, "/subscriptions", with(map[string]any{"name": "x", "options": map[string]any{"a": 1}}))
	require.Equal(t, http.StatusCreated, got.status, "members that nobody knows")
	end := time.Now().Add(2 * time.Minute)
	got = a.call(alice, http.MethodPost, "/subscriptions", with(map[string]any{"name": "x", "expirationTime": end.UnixMilli()}))
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.WithinDuration(t, end, got.Expires, 2*time.Second)
	got = a.call(alice, http.MethodPost, "/subscriptions", with(map[string]any{"name": "x", "expirationTime": 1e300}))
	assert.Equal(t, http.StatusOK, got.status, got.body)

	path := "/subscriptions/" + id
	for _, body := range []string{`{}`, `{"other":1}`, `{"name":null}`} {
		assert.Equal(t, http.StatusBadRequest, a.call(alice, http.MethodPatch, path, body).status, body)
	}
	assert.Equal(t, "name", a.call(alice, http.MethodPatch, path, `{"name":""}`).Field)
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", ";"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/subscriptions", strings.NewReader(device.JSON(nil)))
		r.Header.Set("Content-Type", media)
		assert.Equal(t, http.StatusUnsupportedMediaType, a.serve(alice, r).status, media)
	}
}

func TestPathsAndMethods(t *testing.T) {
	a := newAPI(t)
	for path, allow := range map[string]string{
		"/subscriptions": "GET, POST", "/subscriptions/1": "DELETE, GET, PATCH", "/subscriptions/1/test": "POST",
	} {
		got := a.call(alice, http.MethodPut, path, "")
		assert.Equal(t, http.StatusMethodNotAllowed, got.status)
		assert.Equal(t, allow, got.header.Get("Allow"))
	}
	for _, path := range []string{"/", "/x", "/subscriptions/1/2", "/subscriptions/1/test/2"} {
		assert.Equal(t, http.StatusNotFound, a.call(alice, http.MethodGet, path, "").status, path)
	}
}

// What is not the user's fault says so, and says when to come again.
func TestStoreThatCannotBeUsed(t *testing.T) {
	a := newAPI(t)
	device := a.service.Subscribe(t, a.key())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ended, http.MethodPost, "/subscriptions", strings.NewReader(device.JSON(map[string]any{"name": "Phone"})))
	r.Header.Set("Content-Type", "application/json")
	got := a.serve(alice, r)
	assert.Equal(t, http.StatusServiceUnavailable, got.status, got.body)
	assert.Equal(t, "5", got.header.Get("Retry-After"))
	assert.NotContains(t, a.log.String(), alice)
}
