// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"crypto/tls"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

// front is a Caddy with the module in front of a middleware.
type front struct {
	*caddytestkit.Caddy
	https, http string // addresses of the endpoints
	config      string
}

// caddyfile has what most tests need: an endpoint with HTTPS from Caddy's
// internal CA and one with plain HTTP, an embedded queue, the middleware.
const caddyfile = `{
	auto_https disable_redirects
	skip_install_trust
	dovecot_push {
		queue embedded {
			QUEUE
		}
		deliver middleware {
			credentials login {env.OX_PASSWORD}
			reverse_proxy MIDDLEWARE
		}
	}
}
(notify) {
	dovecot_push_notify {
		allow private_ranges
		credentials dovecot {env.NOTIFY_PASSWORD}
		NOTIFY
	}
	respond 404
}
https://HTTPS {
	tls internal
	import notify
}
http://HTTP {
	import notify
}
`

// startFront starts Caddy. replacements are pairs of a word of the Caddyfile
// in capitals and what to put in its place.
func startFront(t testing.TB, middleware string, replacements ...string) *front {
	t.Helper()
	f := newFront(t, middleware, replacements...)
	f.start(t)
	return f
}

// start runs Caddy and waits until it has the certificates, which it gets
// after it has started.
func (f *front) start(t testing.TB) {
	t.Helper()
	require.NoError(t, f.Run(f.config), f.Log())
	awaitCertificate(t, f.https)
}

func awaitCertificate(t testing.TB, address string) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			// A server that wants a client certificate has one itself.
			return strings.Contains(err.Error(), "certificate required")
		}
		conn.Close()
		return true
	}, waitTimeout, 20*time.Millisecond, "certificate of %s", address)
}

func newFront(t testing.TB, middleware string, replacements ...string) *front {
	t.Helper()
	f := &front{
		Caddy: caddytestkit.New(t, "NOTIFY_PASSWORD="+notifyPassword, "OX_PASSWORD="+oxPassword),
		https: freeAddress(t), http: freeAddress(t),
	}
	// strings.Replacer takes the first pair that fits: those of the test win.
	all := append(replacements, "MIDDLEWARE", middleware, "HTTPS", f.https, "HTTP", f.http, "QUEUE", "", "NOTIFY\n", "\n")
	f.config = strings.NewReplacer(all...).Replace(caddyfile)
	return f
}

// url is the URL of the endpoint for Dovecot's driver.
func (f *front) url(scheme string) string {
	address := f.http
	if scheme == "https" {
		address = f.https
	}
	return fmt.Sprintf("%s://%s:%s@%s%s", scheme, notifyUser, "notify%3Asecret", address, notifyPath)
}

func freeAddress(t testing.TB) string {
	t.Helper()
	address, err := freeport.Address()
	require.NoError(t, err)
	return address
}

// build makes a program of a package, without the race detector.
func build(t *testing.T, pkg string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", "build", "-o", path, pkg)
	cmd.Dir = caddytestkit.Repository()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}
