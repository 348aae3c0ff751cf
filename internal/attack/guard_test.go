// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/rawhttp"
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

// sites are shapes that a site with a guard has, in front of BACKEND.
var sites = map[string]string{
	"plain": `dovecot_push_guard /preliminary/* {
		allow 10.0.0.0/8
	}
	reverse_proxy BACKEND`,
	"in a route": `route {
		dovecot_push_guard /preliminary/* {
			allow 10.0.0.0/8
		}
		reverse_proxy BACKEND
	}`,
	"in a handle, with others beside it": `handle /other/* {
		respond 404
	}
	handle {
		encode gzip
		dovecot_push_guard /preliminary/* {
			allow 10.0.0.0/8
		}
		reverse_proxy BACKEND
	}`,
	"behind rewrites": `rewrite /old/* /preliminary{uri}
	uri strip_prefix /app
	dovecot_push_guard /preliminary/* {
		allow 10.0.0.0/8
	}
	reverse_proxy BACKEND`,
	"an error route to the backend": `handle_errors {
		reverse_proxy BACKEND
	}
	dovecot_push_guard /preliminary/* {
		allow 10.0.0.0/8
	}
	reverse_proxy BACKEND`,
	"two guards": `dovecot_push_guard /preliminary/* {
		allow 10.0.0.0/8
	}
	dovecot_push_guard /x/preliminary/* {
		allow 0.0.0.0/0 ::/0
	}
	reverse_proxy BACKEND`,
}

// malformed3 is H3_MESSAGE_ERROR (RFC 9114, section 8.1), as what is in place of
// a status.
const malformed3 = -0x10e

// A stranger gets through to the backend by no spelling of a guarded path, over
// HTTP/1.1, HTTP/2 and HTTP/3, whatever the site looks like; every other path
// gets through.
func TestGuardedPathsInEverySpelling(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer backend.Close()
	for name, site := range sites {
		t.Run(name, func(t *testing.T) {
			address, secure := freeAddress(t), strings.Replace(freeAddress(t), "127.0.0.1", "localhost", 1)
			c := caddytestkit.Start(t, fmt.Sprintf(`{
	auto_https disable_redirects
	skip_install_trust
	servers {
		protocols h1 h2 h2c h3
	}
}
(site) {
	%s
}
http://%s {
	import site
}
https://%s {
	tls internal
	import site
}
`, strings.ReplaceAll(site, "BACKEND", backend.Listener.Addr().String()), address, secure))
			http3 := dial3(t, c, secure)
			for _, path := range append(append([]string(nil), spellings...), rawSpellings...) {
				path = strings.ReplaceAll(path, "HOST", address)
				one, two := rawhttp.Get1(t, address, path), rawhttp.Get2(t, address, path)
				assert.Zero(t, reached.Swap(0), "%s reached the backend", path)
				three := http3.Get(t, path)
				assert.Zero(t, reached.Swap(0), "HTTP/3 %s reached the backend", path)
				switch {
				case !strings.HasPrefix(path, "/"):
					// The server of quic-go resets the request: a path begins with a
					// slash. Its client sends none either, and says so.
					assert.Equal(t, malformed3, three, path)
				case !strings.Contains(path, "\\"):
					assert.Equal(t, []int{403, 403, 403}, []int{one, two, three}, path)
				}
			}
			for _, path := range []string{"/", "/preliminaryx", "/x/preliminaryx", "/ajax/mail?action=all", "/appsuite/%%20a/b;c"} {
				path = strings.ReplaceAll(path, "%%", "%")
				assert.Equal(t, []int{200, 200, 200}, []int{rawhttp.Get1(t, address, path), rawhttp.Get2(t, address, path), http3.Get(t, path)}, path)
			}
			reached.Store(0)
		})
	}
}

// dial3 returns a connection over HTTP/3 to a site, as soon as that has a
// certificate.
func dial3(t *testing.T, c *caddytestkit.Caddy, host string) (conn *rawhttp.HTTP3) {
	t.Helper()
	roots := x509.NewCertPool()
	require.Eventually(t, func() bool {
		ca, err := os.ReadFile(c.RootCA())
		return err == nil && roots.AppendCertsFromPEM(ca)
	}, patience, 100*time.Millisecond)
	require.Eventually(t, func() (ok bool) {
		var err error
		conn, err = rawhttp.Dial3(t, host, &tls.Config{RootCAs: roots, ServerName: "localhost"})
		return err == nil
	}, patience, 100*time.Millisecond, "with a certificate, which takes a moment")
	return conn
}

// Over a Unix socket a peer has no address: it is let in where that is said, and
// nowhere else.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	socket := t.TempDir() + "/socket"
	caddytestkit.Start(t, fmt.Sprintf(`http://localhost {
	bind unix/%s
	dovecot_push_guard /unix {
		allow unix
	}
	dovecot_push_guard /networks {
		allow 0.0.0.0/0 ::/0
	}
	respond 200
}
`, socket))
	client := unixClient(t, socket)
	for path, want := range map[string]int{"/unix": 200, "/networks": 403, "/x": 200} {
		assert.Equal(t, want, do(client, http.MethodGet, "http://localhost"+path, "").status, path)
	}
}
