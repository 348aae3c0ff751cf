// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

// Spellings of the guarded path. Each of them is the path for some backend.
var spellings = []string{
	"/preliminary", "/preliminary/", "/preliminary/http-notify/v1/notify",
	"//preliminary/x", "///preliminary/x", "/./preliminary/x", "/x/../preliminary/x", "/x/y/../../preliminary/x",
	"/x/..//preliminary/x", "/%2e/preliminary/x", "/x/%2e%2e/preliminary/x", "/x/%2E%2e/preliminary/x", "/x/.%2e/preliminary/x",
	"/%70reliminary/x", "/%70%72%65%6c%69%6d%69%6e%61%72%79/x", "/%2570reliminary/x", "/%25%37%30reliminary/x",
	"/%2fpreliminary/x", "/%2Fpreliminary%2fx", "/preliminary%2fhttp-notify", "/x%2f..%2fpreliminary/x", "/%252fpreliminary/x",
	"/PRELIMINARY/x", "/Preliminary/x", "/pRELIMINARY/X", "/%50RELIMINARY/x",
	"/preliminary;v=1/x", "/;v=1/preliminary/x", "/preliminary;/x", "/x/..;/preliminary/x", "/x/..;a=b/preliminary/x",
	"/preliminary%3bv=1/x", "/x/..%3b/preliminary/x", "/;/preliminary/x",
	"/%5cpreliminary/x", "/preliminary%5cx", "/x%5c..%5cpreliminary/x", "/x/..%5cpreliminary/x", "/x%5C..%5C/preliminary/x",
	"/preliminary%3fx", "/preliminary%23x", "/preliminary%00/x", "/preliminary%20/x", "/preliminary./x",
	"/preliminary/../preliminary/x", "/preliminary/../x",
}

// rawSpellings are those that only a client without manners sends.
var rawSpellings = []string{
	"/\\preliminary/x", "\\preliminary/x", "/x\\..\\preliminary/x", "/preliminary\\x",
	"http://HOST/preliminary/x", "http://HOST//preliminary/x", "http://other.example/%70reliminary/x",
}

// A stranger gets through to the backend by no spelling of a guarded path,
// over HTTP/1.1 and HTTP/2; every other path gets through.
func TestGuardInFrontOfReverseProxy(t *testing.T) {
	var reached atomic.Int64
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer backend.Close()
	address := freeAddress(t)
	caddytestkit.Start(t, fmt.Sprintf(`{
	servers {
		protocols h1 h2 h2c
	}
}
http://%s {
	dovecot_push_guard /preliminary/* {
		allow 10.0.0.0/8
	}
	reverse_proxy %s
}
`, address, backend.Listener.Addr()))

	for _, path := range append(append([]string(nil), spellings...), rawSpellings...) {
		path = strings.ReplaceAll(path, "HOST", address)
		rawHTTP1(t, address, path)
		assert.Zero(t, reached.Swap(0), "HTTP/1.1 %s reached the backend", path)
		rawHTTP2(t, address, path)
		assert.Zero(t, reached.Swap(0), "HTTP/2 %s reached the backend", path)
	}
	for _, path := range spellings {
		assert.Equal(t, http.StatusForbidden, rawHTTP1(t, address, path), "HTTP/1.1 %s", path)
		assert.Equal(t, http.StatusForbidden, rawHTTP2(t, address, path), "HTTP/2 %s", path)
	}
	for _, path := range []string{"/", "/preliminaryx", "/x/preliminary", "/ajax/mail?action=all", "/appsuite/%20a/b;c"} {
		assert.Equal(t, http.StatusOK, rawHTTP1(t, address, path), "HTTP/1.1 %s", path)
		assert.Equal(t, http.StatusOK, rawHTTP2(t, address, path), "HTTP/2 %s", path)
	}
}

// A rewrite neither hides a guarded path nor makes one reachable.
func TestGuardSeesRewrites(t *testing.T) {
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
		assert.Equal(t, want, rawHTTP1(t, address, path), path)
	}
}

// With client_ip the address that Caddy found counts; without it the peer,
// whatever X-Forwarded-For says.
func TestGuardBehindAProxy(t *testing.T) {
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
	assert.Equal(t, http.StatusForbidden, rawHTTP1(t, peer, "/preliminary/x", forwarded))
	assert.Equal(t, http.StatusOK, rawHTTP1(t, client, "/preliminary/x", forwarded))
	assert.Equal(t, http.StatusForbidden, rawHTTP1(t, client, "/preliminary/x", "X-Forwarded-For: 203.0.113.9\r\n"))
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
	assert.Equal(t, http.StatusOK, rawHTTP1(t, client, "/preliminary/x", forged), "what is warned of")
	assert.Equal(t, http.StatusForbidden, rawHTTP1(t, strict, "/preliminary/x", forged))
	assert.Equal(t, http.StatusOK, rawHTTP1(t, strict, "/preliminary/x", forwarded))
	assert.NotContains(t, c.Log(), "can be forged")
}

// What limits wrong logins goes by the address that Caddy found, too: the same
// warning, and none where no proxy is trusted or the address is found strictly.
func TestSignInsLimitedByAnAddressThatCanBeForged(t *testing.T) {
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
		assert.Equal(t, status, rawHTTP1(t, address, path), path)
		assert.Zero(t, reached.Load(), path)
	}
	assert.Equal(t, http.StatusOK, rawHTTP1(t, address, "/other"))
}

// Networks may come from Caddy's own modules; IPv4 peers on an IPv6 socket
// match their IPv4 rule; nobody comes in without a rule, with a warning.
func TestGuardNetworks(t *testing.T) {
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
	assert.Equal(t, http.StatusOK, rawHTTP1(t, v4, "/source"))
	assert.Equal(t, http.StatusOK, rawHTTP1(t, v4, "/mapped"))
	assert.Equal(t, http.StatusForbidden, rawHTTP1(t, v4, "/v6"))
	assert.Equal(t, http.StatusOK, rawHTTP1(t, v6, "/v6"))
	assert.Equal(t, http.StatusForbidden, rawHTTP1(t, v6, "/mapped"))
	assert.Equal(t, http.StatusForbidden, rawHTTP1(t, v4, "/nobody"))
	assert.Contains(t, c.Log(), "nobody may come in")
}

// rawHTTP1 sends a request line as it is and returns the status.
func rawHTTP1(t *testing.T, address, target string, fields ...string) int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, waitTimeout)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(waitTimeout)))
	request := "GET " + target + " HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n"
	for _, f := range fields {
		request += f
	}
	_, err = conn.Write([]byte(request + "\r\n"))
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, target)
	defer resp.Body.Close()
	return resp.StatusCode
}

// rawHTTP2 sends :path as it is, without TLS and with prior knowledge, and
// returns the status.
func rawHTTP2(t *testing.T, address, path string) int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, waitTimeout)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(waitTimeout)))
	_, err = conn.Write([]byte(http2.ClientPreface))
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	require.NoError(t, framer.WriteSettings())
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", address}, {":path", path}} {
		require.NoError(t, enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	require.NoError(t, framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true,
	}))
	for {
		frame, err := framer.ReadFrame()
		require.NoError(t, err, path)
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			var status int
			_, err := fmt.Sscan(f.PseudoValue("status"), &status)
			require.NoError(t, err)
			return status
		case *http2.RSTStreamFrame:
			return -int(f.ErrCode) // refused without a status
		}
	}
}
