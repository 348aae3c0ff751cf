// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
)

// What comes in TLS early data may be a repetition by anybody, with any source
// address: on a guarded path it gets 425, whatever source it claims.
func TestEarlyData(t *testing.T) {
	t.Parallel()
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
	client := exec.Command(build(t, "./internal/endtoend/earlydata"), c.RootCA())
	client.Stderr = t.Output()
	in, err := client.StdinPipe()
	require.NoError(t, err)
	out, err := client.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, client.Start())
	get := func(method, path string) (status int) {
		_, err := fmt.Fprintln(in, method, site+path)
		require.NoError(t, err)
		_, err = fmt.Fscanln(out, &status)
		require.NoError(t, err)
		return status
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
	require.NoError(t, in.Close())
	require.NoError(t, client.Wait())
}
