// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What Caddy refuses is told in its own words, and only a Caddy that does not
// answer is said to be out of reach.
func TestRefusals(t *testing.T) {
	answer := ""
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, answer)
	}))
	c := &client{address: strings.TrimPrefix(admin.URL, "http://")}
	for text, want := range map[string]string{
		`{"error":"the app: is not configured"}`: "the app: is not configured",
		"busy: later\n":                          "the admin API of Caddy at " + c.address + " answers HTTP 503: busy: later",
		"":                                       "the admin API of Caddy at " + c.address + " answers HTTP 503:",
	} {
		answer = text
		err := c.call(http.MethodGet, "status", nil, nil)
		require.EqualError(t, err, want)
		require.NotErrorIs(t, err, errNotRunning)
	}
	admin.Close()
	require.ErrorIs(t, c.call(http.MethodGet, "status", nil, nil), errNotRunning)
}
