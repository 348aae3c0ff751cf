// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// webServers are those that can stand in front of Caddy, by their heading in
// docs/behind-a-proxy.md: a whole configuration around the block of the page.
var webServers = map[string]struct {
	program       string
	arguments     []string
	configuration string
}{
	"nginx": {"nginx", []string{"-e", "DIR/error.log", "-p", "DIR", "-c", "DIR/config", "-g", "daemon off;"}, `
pid DIR/pid;
events {}
http {
	access_log off;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	server {
		listen ADDRESS ssl;
		ssl_certificate DIR/certificate;
		ssl_certificate_key DIR/certificate;
		BLOCK
	}
}
`},
	"Apache": {"apache2", []string{"-X", "-f", "DIR/config"}, `
ServerRoot DIR
ServerName localhost
PidFile DIR/pid
ErrorLog DIR/error.log
DefaultRuntimeDir DIR
Mutex file:DIR
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule socache_shmcb_module /usr/lib/apache2/modules/mod_socache_shmcb.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
Listen ADDRESS
<VirtualHost *>
	SSLEngine on
	SSLCertificateFile DIR/certificate
	BLOCK
</VirtualHost>
`},
	"HAProxy": {"haproxy", []string{"-db", "-f", "DIR/config"}, `
defaults
    timeout connect 10s
    timeout client 1h
    timeout server 10s
frontend site
    mode http
    bind ADDRESS ssl crt DIR/certificate
    BLOCK
`},
}

// People use the page through another web server, configured as the page about
// it says, as if they had come to Caddy directly.
func TestBehindAnotherWebServer(t *testing.T) {
	page := read(t, "docs", "behind-a-proxy.md")
	dovecot := dovecottest.Start(t, dovecottest.Config{Version: dovecottest.V23, Users: users(1), ExtraConfig: patient(dovecottest.V23)})
	const user = "user0@example.com"
	for name, server := range webServers {
		t.Run(name, func(t *testing.T) {
			program, err := exec.LookPath(server.program)
			if err != nil {
				if program, err = exec.LookPath("/usr/sbin/" + server.program); err != nil {
					t.Skipf("there is no %s: internal/endtoend/install.sh installs it", server.program)
				}
			}
			// Caddy, with the Caddyfile of the page.
			f := newFront(t, "127.0.0.1:1")
			address, front := freeAddress(t), freeAddress(t)
			_, port, err := net.SplitHostPort(address)
			require.NoError(t, err)
			f.config = strings.NewReplacer("127.0.0.1:8009", f.http, ":8010", ":"+port, "imap://127.0.0.1", "imap://"+dovecot.IMAPAddr()).
				Replace(find(t, page, "(?s)```caddyfile\n(.*?)```"))
			require.NoError(t, f.Run(f.config), f.Log())

			// The other one, with its block.
			dir := t.TempDir()
			require.NoError(t, os.Chmod(dir, 0o755)) // its workers are other users
			block := find(t, page, "(?s)\n### "+name+"\n.*?```[a-z]+\n(.*?)```")
			require.NoError(t, writeFile(dir, "config", strings.NewReplacer("BLOCK", strings.ReplaceAll(block, "127.0.0.1:8010", address), "ADDRESS", front, "DIR", dir).
				Replace(server.configuration)))
			ca := selfSigned(t, dir)
			var arguments []string
			for _, a := range server.arguments {
				arguments = append(arguments, strings.ReplaceAll(a, "DIR", dir))
			}
			cmd := exec.CommandContext(t.Context(), program, arguments...)
			log, err := os.Create(filepath.Join(dir, "output"))
			require.NoError(t, err)
			defer log.Close()
			cmd.Stdout, cmd.Stderr = log, log
			require.NoError(t, cmd.Start())
			t.Cleanup(func() {
				_ = cmd.Wait()
				if t.Failed() {
					for _, file := range []string{"output", "error.log"} {
						text, _ := os.ReadFile(filepath.Join(dir, file))
						t.Logf("%s of %s: %s", file, name, text)
					}
				}
			})
			awaitCertificate(t, front)

			// from is a person at another address of this machine.
			from := func(source string) *person {
				p := newPerson(t, "https://"+front+"/push", ca)
				p.client.Transport.(*http.Transport).DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}).DialContext
				return p
			}
			p := from("127.0.0.1")
			status, _ := p.call(http.MethodGet, "/api/session", "")
			assert.Equal(t, http.StatusUnauthorized, status)
			require.Equal(t, http.StatusOK, p.signIn(user, "pass"))
			status, session := p.call(http.MethodGet, "/api/session", "")
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, user, session["user"])

			// A mail is in the stream at once, and the stream stays open.
			stream := p.listen()
			stream.connected(1)
			f.notify(t, map[string]any{"user": user, "subject": "first", "imap-uid": 1})
			assert.Equal(t, "first", stream.wait(1)[0].Subject)
			f.notify(t, map[string]any{"user": user, "subject": "second", "imap-uid": 2})
			assert.Equal(t, "second", stream.wait(2)[1].Subject)

			// Pages of this site may change something, those of others may not.
			for origin, want := range map[string]int{"https://" + front: http.StatusOK, "https://evil.example": http.StatusForbidden} {
				p.before = func(r *http.Request) { r.Header.Set("Origin", origin) }
				assert.Equal(t, want, p.signIn(user, "pass"), origin)
			}

			// Who fails to sign in is the client, whatever it says itself.
			stranger := from("127.0.0.2")
			stranger.before = func(r *http.Request) { r.Header.Set("X-Forwarded-For", "203.0.113.9") }
			refused := 0
			require.Eventually(t, func() bool {
				refused = stranger.signIn("nobody@example.com", "wrong")
				return refused == http.StatusTooManyRequests
			}, waitTimeout, waitTimeout/10000, "the throttle")
			assert.Equal(t, http.StatusOK, from("127.0.0.1").signIn(user, "pass"), "the throttle is for the other one")
			assert.Contains(t, f.Log(), `"remote":"127.0.0.2"`)
			assert.NotContains(t, f.Log(), `"remote":"203.0.113.9"`)
		})
	}
}

// selfSigned writes a certificate for 127.0.0.1 with its key to the directory,
// and returns the file to trust it by.
func selfSigned(t *testing.T, dir string) (caFile string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.StartTLS()
	defer server.Close()
	pair := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	require.NoError(t, writeFile(dir, "certificate", string(certificate)+string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))))
	require.NoError(t, writeFile(dir, "ca", string(certificate)))
	return filepath.Join(dir, "ca")
}
