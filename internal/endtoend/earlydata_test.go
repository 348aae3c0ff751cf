// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
)

// What comes in TLS early data may be a repetition by anybody, with any source
// address: on a guarded path it gets 425, whoever it seems to come from.
func TestEarlyData(t *testing.T) {
	_, port, err := net.SplitHostPort(freeAddress(t))
	require.NoError(t, err)
	site := "https://localhost:" + port
	c := caddytestkit.Start(t, fmt.Sprintf(`{
	auto_https disable_redirects
	skip_install_trust
}
%s {
	tls internal
	dovecot_push_guard /preliminary/* {
		allow 127.0.0.0/8 ::1
	}
	respond 200
}
`, site))
	root, err := os.ReadFile(c.RootCA())
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(root))
	config := &tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	tokens := quic.NewLRUTokenStore(1, 1)
	// get makes a connection for each request. It is 0 without an answer.
	get := func(method, path string) int {
		transport := &http3.Transport{TLSClientConfig: config, QUICConfig: &quic.Config{TokenStore: tokens}}
		defer transport.Close()
		r, err := http.NewRequestWithContext(t.Context(), method, site+path, nil)
		require.NoError(t, err)
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Log(err)
			return 0
		}
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	require.Eventually(t, func() bool {
		return get(http.MethodGet, "/preliminary/x") == http.StatusOK
	}, waitTimeout, 100*time.Millisecond, "with a certificate, which takes a moment")
	// A connection has early data once the one before it was given a ticket,
	// and as long as the server reads it before the handshake ends.
	require.Eventually(t, func() bool {
		return get(http3.MethodGet0RTT, "/preliminary/x") == http.StatusTooEarly
	}, waitTimeout, 10*time.Millisecond)
	require.Equal(t, http.StatusOK, get(http3.MethodGet0RTT, "/x"), "not guarded")
	require.Equal(t, http.StatusOK, get(http.MethodGet, "/preliminary/x"), "after the handshake")
}
