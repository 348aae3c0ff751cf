// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
	"github.com/dovecotpush/caddy-dovecot-push/internal/rawhttp"
)

// A rewrite neither hides a guarded path nor makes one reachable.
func TestGuardSeesRewrites(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	caddytestkit.Start(t, fmt.Sprintf(`http://%s {
	rewrite /secret/* /preliminary{uri}
	uri strip_prefix /app
	dovecot_push_guard /preliminary/* {
		allow 10.0.0.0/8
	}
	respond 200
}
`, address))
	for path, want := range map[string]int{
		"/secret/x": http.StatusForbidden, "/app/preliminary/x": http.StatusForbidden, "/preliminary/x": http.StatusForbidden,
		"/app/x": http.StatusOK,
	} {
		assert.Equal(t, want, rawhttp.Get1(t, address, path), path)
	}
}

// With client_ip the address that Caddy found counts; without it the peer,
// whatever X-Forwarded-For says.
func TestGuardBehindAProxy(t *testing.T) {
	t.Parallel()
	peer, client := freeAddress(t), freeAddress(t)
	c := caddytestkit.Start(t, fmt.Sprintf(`{
	servers {
		trusted_proxies static 127.0.0.0/8
	}
}
http://%s {
	dovecot_push_guard /preliminary/* {
		allow 10.0.0.0/8
	}
	respond 200
}
http://%s {
	dovecot_push_guard /preliminary/* {
		allow 10.0.0.0/8
		client_ip
	}
	respond 200
}
`, peer, client))
	const forwarded = "X-Forwarded-For: 10.1.2.3\r\n"
	assert.Equal(t, http.StatusForbidden, rawhttp.Get1(t, peer, "/preliminary/x", forwarded))
	assert.Equal(t, http.StatusOK, rawhttp.Get1(t, client, "/preliminary/x", forwarded))
	assert.Equal(t, http.StatusForbidden, rawhttp.Get1(t, client, "/preliminary/x", "X-Forwarded-For: 203.0.113.9\r\n"))
	assert.Contains(t, c.Log(), "client_ip can be forged")
	assert.Contains(t, c.Log(), `"client_ip":"203.0.113.9"`, "who was refused, and not the proxy alone")
	assert.Equal(t, 1, strings.Count(c.Log(), `"client_ip":"`), "the peer was judged at the other site")

	// Strictly, the right-most address that is no proxy's counts, and there is
	// nothing to warn of.
	strict := freeAddress(t)
	c = caddytestkit.Start(t, fmt.Sprintf(`{
	servers {
		trusted_proxies static 127.0.0.0/8
		trusted_proxies_strict
	}
}
http://%s {
	dovecot_push_guard /preliminary/* {
		allow 10.0.0.0/8
		client_ip
	}
	respond 200
}
`, strict))
	const forged = "X-Forwarded-For: 10.1.2.3, 203.0.113.9\r\n"
	assert.Equal(t, http.StatusOK, rawhttp.Get1(t, client, "/preliminary/x", forged), "what is warned of")
	assert.Equal(t, http.StatusForbidden, rawhttp.Get1(t, strict, "/preliminary/x", forged))
	assert.Equal(t, http.StatusOK, rawhttp.Get1(t, strict, "/preliminary/x", forwarded))
	assert.NotContains(t, c.Log(), "can be forged")
}

// What limits wrong logins goes by the address that Caddy found, too: the same
// warning, and none where no proxy is trusted or the address is found strictly.
func TestSignInsLimitedByAnAddressThatCanBeForged(t *testing.T) {
	t.Parallel()
	for servers, forgeable := range map[string]bool{
		"": false,
		"servers {\ntrusted_proxies static private_ranges\n}":                         true,
		"servers {\ntrusted_proxies static private_ranges\ntrusted_proxies_strict\n}": false,
	} {
		c := caddytestkit.Start(t, fmt.Sprintf(`{
	%s
	dovecot_push
}
http://%s {
	dovecot_push_api /push/* {
		login imap imap://%s
	}
}
`, servers, freeAddress(t), freeAddress(t)))
		assert.Equal(t, forgeable, strings.Contains(c.Log(), "wrong logins are limited by an address that can be forged"), servers)
	}
}

// What is refused is answered there and then. An error would lead it to Caddy's
// error routes, and those may lead to the backend.
func TestGuardBeforeAnErrorRoute(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer backend.Close()
	address := freeAddress(t)
	caddytestkit.Start(t, strings.NewReplacer("ADDRESS", address, "BACKEND", backend.Listener.Addr().String()).Replace(`{
	dovecot_push
}
http://ADDRESS {
	dovecot_push_guard /preliminary/* {
		allow 10.0.0.0/8
	}
	dovecot_push_notify /stranger {
		allow 10.0.0.0/8
		unauthenticated
	}
	dovecot_push_notify /notify {
		allow 127.0.0.0/8
		unauthenticated
	}
	reverse_proxy BACKEND
	handle_errors {
		reverse_proxy BACKEND
	}
}
`))
	for path, status := range map[string]int{
		"/preliminary/x": http.StatusForbidden, "/stranger": http.StatusForbidden, "/notify/below": http.StatusNotFound,
	} {
		assert.Equal(t, status, rawhttp.Get1(t, address, path), path)
		assert.Zero(t, reached.Load(), path)
	}
	assert.Equal(t, http.StatusOK, rawhttp.Get1(t, address, "/other"))
}

// Networks may come from Caddy's own modules; IPv4 peers on an IPv6 socket
// match their IPv4 rule; nobody comes in without a rule, with a warning.
func TestGuardNetworks(t *testing.T) {
	t.Parallel()
	port, err := freeport.Get()
	require.NoError(t, err)
	c := caddytestkit.Start(t, fmt.Sprintf(`{
	default_bind [::]
}
http://:%d {
	dovecot_push_guard /source {
		allow_source static 127.0.0.0/8
	}
	dovecot_push_guard /mapped {
		allow 127.0.0.
	}
	dovecot_push_guard /v6 {
		allow ::1
	}
	dovecot_push_guard /nobody
	respond 200
}
`, port))
	v4, v6 := fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("[::1]:%d", port)
	assert.Equal(t, http.StatusOK, rawhttp.Get1(t, v4, "/source"))
	assert.Equal(t, http.StatusOK, rawhttp.Get1(t, v4, "/mapped"))
	assert.Equal(t, http.StatusForbidden, rawhttp.Get1(t, v4, "/v6"))
	assert.Equal(t, http.StatusOK, rawhttp.Get1(t, v6, "/v6"))
	assert.Equal(t, http.StatusForbidden, rawhttp.Get1(t, v6, "/mapped"))
	assert.Equal(t, http.StatusForbidden, rawhttp.Get1(t, v4, "/nobody"))
	assert.Contains(t, c.Log(), "nobody is allowed")
}
