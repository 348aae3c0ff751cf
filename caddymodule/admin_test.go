// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

// adminOf serves the routes of one app, and writes errors as Caddy does.
func adminOf(t *testing.T, app *App) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := app.serveAdmin(w, r)
		if err == nil {
			return
		}
		api, ok := errors.AsType[caddy.APIError](err)
		if !ok {
			api.HTTPStatus = http.StatusInternalServerError
		}
		w.WriteHeader(api.HTTPStatus)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
	}))
	t.Cleanup(server.Close)
	return server
}

// askAdmin sends a request for a route, such as "GET status".
func askAdmin(t *testing.T, server *httptest.Server, route, body string) (status int, answer string) {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+adminapi.Prefix+path, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := server.Client().Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, strings.TrimSpace(string(text))
}

const adminConfiguration = `{
	skip_install_trust
	storage file_system STORAGE
	dovecot_push {
		queue embedded {
			path STORAGE/queue
		}
		doveadm DOVEADM {
			api_secret {env.TEST_API_SECRET}
		}
		deliver webhook chat CHAT
		deliver webpush {
			contact postmaster@example.com
		}
	}
}
`

// Every route of the admin API does what it is for, and tells a mistake from a
// failure.
func TestAdminRoutes(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	dovecot := doveadmtest.Start(t, doveadmtest.Config{Users: []string{testUser}})
	t.Setenv("TEST_API_SECRET", dovecot.APISecret())
	received := make(chan string, 10)
	chat := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { received <- r.Method }))
	t.Cleanup(chat.Close)
	app := startApp(t, strings.NewReplacer("STORAGE", t.TempDir(), "DOVEADM", dovecot.URL(), "CHAT", chat.URL).Replace(adminConfiguration))
	server := adminOf(t, app)
	asked := make(map[string]bool)
	ask := func(route, query, body string, want int) string {
		t.Helper()
		require.Contains(t, adminRoutes, route)
		asked[route] = true
		path := strings.NewReplacer("{user}", testUser, "{id}", "none").Replace(route) + query
		status, answer := askAdmin(t, server, path, body)
		require.Equal(t, want, status, "%s: %s", path, answer)
		return answer
	}

	var status adminapi.Status
	require.NoError(t, json.Unmarshal([]byte(ask("GET status", "", "", http.StatusOK)), &status))
	assert.True(t, status.Queue.Up)
	assert.Equal(t, []string{"chat", "webpush"}, []string{status.Targets[0].Name, status.Targets[1].Name})
	assert.Equal(t, &adminapi.DevicesStatus{}, status.Devices)
	assert.Equal(t, "doveadm", status.Registration.Via)
	assert.Nil(t, status.Streams, "no site has an API")
	ask("GET health/live", "", "", http.StatusOK)
	assert.JSONEq(t, `{"ready":true,"targets":{"chat":true,"webpush":true}}`, ask("GET health/ready", "", "", http.StatusOK))

	ask("POST test", "", `{"user":""}`, http.StatusBadRequest)
	ask("POST test", "", `{"usr":"alice"}`, http.StatusBadRequest)
	ask("POST test", "", `{"user":"nobody@example.com"}`, http.StatusNotFound)
	assert.Contains(t, ask("POST test", "", `{"user":"`+testUser+`"}`, http.StatusOK), `"id":`)
	assert.Equal(t, http.MethodPost, <-received)
	ask("GET follow", "", "", http.StatusBadRequest)
	ask("GET follow", "?user="+testUser+"&time=1y", "", http.StatusBadRequest)
	assert.Contains(t, ask("GET follow", "?user="+testUser+"&time=1ms", "", http.StatusOK), `"what":"following"`)

	var probes []adminapi.Probe
	require.NoError(t, json.Unmarshal([]byte(ask("POST probe", "", "", http.StatusOK)), &probes))
	kinds := make(map[string]bool)
	for _, p := range probes {
		kinds[p.Kind] = true
		assert.True(t, p.OK || p.Skipped, "%+v", p)
	}
	assert.Equal(t, map[string]bool{"queue": true, "doveadm": true, "target": true, "registration": true, "contact": true}, kinds)
	assert.Equal(t, http.MethodHead, <-received)

	assert.Contains(t, ask("PUT registrations/{user}", "", "", http.StatusOK), `"state":"registered"`)
	assert.Contains(t, ask("GET registrations", "?user="+testUser, "", http.StatusOK), `"ours":true`)
	assert.Contains(t, ask("GET registrations", "", "", http.StatusOK), `"by_hand":"registered"`)
	assert.Contains(t, ask("DELETE registrations/{user}", "", "", http.StatusOK), `"state":"unregistered"`)
	for _, body := range []string{"", `{"action":"register"}`, `{"action":"forget","all":true}`, `{"action":"register","all":true,"users":["x"]}`} {
		ask("POST registrations", "", body, http.StatusBadRequest)
	}
	lines := strings.Split(ask("POST registrations", "", `{"action":"register","users":["`+testUser+`","nobody@example.com"]}`, http.StatusOK), "\n")
	require.Len(t, lines, 3)
	assert.JSONEq(t, `{"total":2}`, lines[0])
	assert.Contains(t, lines[1]+lines[2], `"state":"registered"`)
	assert.Contains(t, lines[1]+lines[2], `"state":"unknown_user"`)

	for _, body := range []string{"", `{"all":true,"users":["x"]}`} {
		ask("POST catch_up", "", body, http.StatusBadRequest)
	}
	lines = strings.Split(ask("POST catch_up", "", `{"users":["`+testUser+`"]}`, http.StatusOK), "\n")
	assert.Contains(t, lines[len(lines)-1], `"found":0`)
	assert.Contains(t, ask("GET catch_up", "?user="+testUser, "", http.StatusOK), `"user":"`+testUser+`"`)
	ask("GET catch_up", "", "", http.StatusBadRequest)

	assert.JSONEq(t, `{"user":"`+testUser+`","subscriptions":[]}`, ask("GET subscriptions", "?user="+testUser, "", http.StatusOK))
	ask("GET subscriptions", "", "", http.StatusBadRequest)
	ask("DELETE subscriptions/{id}", "?user="+testUser, "", http.StatusNotFound)
	var before, after adminapi.VAPIDKeys
	require.NoError(t, json.Unmarshal([]byte(ask("GET vapid", "", "", http.StatusOK)), &before))
	require.Len(t, before.Keys, 1)
	require.NoError(t, json.Unmarshal([]byte(ask("POST vapid/rotate", "", "", http.StatusOK)), &after))
	require.Len(t, after.Keys, 2)
	assert.Equal(t, before.Keys[0], after.Keys[1])
	var keys adminapi.Keys
	require.NoError(t, json.Unmarshal([]byte(ask("GET keys", "", "", http.StatusOK)), &keys))
	require.Len(t, keys.Keys, 2)
	assert.Equal(t, adminapi.Key{Target: "webpush", ID: after.Keys[0].PublicKey, Since: after.Keys[0].Created}, keys.Keys[0])

	assert.JSONEq(t, `{"dead_letters":[]}`, ask("GET dead_letters", "", "", http.StatusOK))
	ask("GET dead_letters", "?id=x", "", http.StatusBadRequest)
	ask("POST dead_letters/replay", "", "", http.StatusBadRequest)
	ask("DELETE dead_letters", "?all=true", "", http.StatusOK)
	ask("DELETE targets", "?name=chat", "", http.StatusConflict)
	for _, route := range []string{"POST test", "POST registrations", "POST catch_up"} {
		for name, body := range map[string]string{"too large": strings.Repeat(" ", maxAdminBody) + "{}", "no JSON": "{", "unknown": `{"nothing":1}`} {
			assert.Contains(t, ask(route, "", body, http.StatusBadRequest), "is not the JSON that was expected", name)
		}
	}
	for route := range adminRoutes {
		assert.True(t, asked[route], "%s has no test", route)
	}
	other, _ := askAdmin(t, server, "PUT status", "")
	assert.Equal(t, http.StatusMethodNotAllowed, other)
	other, _ = askAdmin(t, server, "GET nothing", "")
	assert.Equal(t, http.StatusNotFound, other)
}

// Every route takes its own methods and no other, whatever is configured.
func TestAdminMethods(t *testing.T) {
	methods := make(map[string]map[string]bool) // by path
	for route := range adminRoutes {
		method, path, _ := strings.Cut(route, " ")
		if methods[path] == nil {
			methods[path] = make(map[string]bool)
		}
		methods[path][method] = true
		if method == http.MethodGet {
			methods[path][http.MethodHead] = true
		}
	}
	for path, allowed := range methods {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			if allowed[method] {
				continue
			}
			w := httptest.NewRecorder()
			require.NoError(t, serveAdmin(w, httptest.NewRequest(method, adminapi.Prefix+strings.NewReplacer("{user}", "x", "{id}", "x").Replace(path), http.NoBody)))
			assert.Equal(t, http.StatusMethodNotAllowed, w.Code, "%s %s", method, path)
			for want := range allowed {
				assert.Contains(t, w.Header().Get("Allow"), want, "%s %s", method, path)
			}
		}
	}
}

// Before the app runs, every route says so.
func TestAdminWithoutApp(t *testing.T) {
	for route := range adminRoutes {
		method, path, _ := strings.Cut(route, " ")
		err := serveAdmin(httptest.NewRecorder(), httptest.NewRequest(method, adminapi.Prefix+strings.NewReplacer("{user}", "x", "{id}", "x").Replace(path), http.NoBody))
		api, ok := errors.AsType[caddy.APIError](err)
		require.True(t, ok, "%s: %v", route, err)
		assert.Equal(t, http.StatusServiceUnavailable, api.HTTPStatus, route)
	}
}
