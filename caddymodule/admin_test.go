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
	"github.com/stretchr/testify/require"

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
