// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// Dovecot sends the host of the URL as SNI, also if it is an address. (URLs
// with an address are what the other tests use.)
func TestInternalCAForAName(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		ox := startMiddleware(t)
		address := freeAddress(t)
		_, port, err := net.SplitHostPort(address)
		require.NoError(t, err)
		f := newFront(t, ox.addr, "https://HTTPS", "https://localhost:"+port)
		f.https = "localhost:" + port
		f.start(t)
		dovecot := startDovecot(t, version, f, dovecottest.Config{Users: users(1)}, f.url("https"))
		deliver(t, dovecot, "by name", "user0@example.com")
		ox.wait(1)
	})
}

// A Dovecot that does not trust the CA does not report, and says so.
func TestUnknownCA(t *testing.T) {
	t.Parallel()
	ox := startMiddleware(t)
	f := startFront(t, ox.addr)
	other := newAuthority(t)
	dovecot := dovecottest.Start(t, dovecottest.Config{
		Version: dovecottest.V23, Users: users(1), SSLClientCAFile: other.file,
		Drivers: []dovecottest.Driver{{URL: f.url("https")}},
	})
	require.NoError(t, dovecot.Register("user0@example.com"))
	deliver(t, dovecot, "to nobody", "user0@example.com")
	eventuallyLogged(t, dovecot, "Error when sending notification")
	assert.Empty(t, ox.got())
}

// A certificate that is issued automatically, by ACME: the CA is another Caddy,
// with its acme_server.
func TestACME(t *testing.T) {
	t.Parallel()
	const challenges = "127.0.0.1:80"
	l, err := net.Listen("tcp", challenges)
	if err != nil {
		t.Skipf("an ACME CA checks on port 80, which cannot be opened here: %v", err)
	}
	l.Close()

	caAddress := freeAddress(t)
	_, caPort, err := net.SplitHostPort(caAddress)
	require.NoError(t, err)
	ca := caddytestkit.Start(t, `{
	auto_https disable_redirects
	skip_install_trust
}
https://localhost:`+caPort+` {
	tls internal
	acme_server {
		allow {
			domains localhost
		}
	}
}
`)
	ox := startMiddleware(t)
	_, port, err := net.SplitHostPort(freeAddress(t))
	require.NoError(t, err)
	f := newFront(t, ox.addr, "https://HTTPS", "https://localhost:"+port)
	f.https = "localhost:" + port
	f.config = strings.Replace(f.config, "tls internal", `tls {
		issuer acme {
			dir https://localhost:`+caPort+`/acme/local/directory
			trusted_roots `+ca.RootCA()+`
			disable_tlsalpn_challenge
		}
	}`, 1)
	f.start(t)
	certificates := filepath.Join(f.Dir, "data", "caddy", "certificates")
	require.Eventually(t, func() bool {
		found, _ := filepath.Glob(filepath.Join(certificates, "*", "localhost", "localhost.crt"))
		return len(found) == 1
	}, waitTimeout, 50*time.Millisecond, "certificate from the ACME CA\n%s", f.Log())

	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		// Two servers may give the same UIDVALIDITY and UID to their first mail.
		user := "acme-" + string(version) + "@example.com"
		before := len(ox.got())
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, Users: []dovecottest.User{{Name: user, Password: "pass"}}, SSLClientCAFile: ca.RootCA(),
			Drivers: []dovecottest.Driver{{URL: f.url("https"), Timeout: 10 * time.Second, MaxAttempts: 2}},
		})
		require.NoError(t, dovecot.Register(user))
		deliver(t, dovecot, "over ACME", user)
		ox.wait(before + 1)
	})
}

// A client certificate in the place of credentials, and in addition to them.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		authority := newAuthority(t)
		cert, key := authority.issue(t, "mail1.internal.example")
		clientAuth := `tls internal {
		client_auth {
			mode verify_if_given
			trust_pool file ` + authority.file + `
		}
	}`
		for _, mode := range []string{"required", "sufficient"} {
			t.Run(mode, func(t *testing.T) {
				ox := startMiddleware(t)
				f := newFront(t, ox.addr, "NOTIFY\n", "client_certificate "+mode+"\n", "tls internal", clientAuth)
				f.start(t)
				url := f.url("https")
				if mode == "sufficient" {
					url = "https://" + f.https + notifyPath // without credentials
				}
				dovecot := startDovecot(t, version, f, dovecottest.Config{
					Users: users(1), SSLClientCertFile: cert, SSLClientKeyFile: key,
				}, url)
				deliver(t, dovecot, "with a certificate", "user0@example.com")
				ox.wait(1)

				stranger := startDovecot(t, version, f, dovecottest.Config{Users: users(1)}, url)
				deliver(t, stranger, "without one", "user0@example.com")
				eventuallyLogged(t, stranger, "Error when sending notification")
				ox.wait(1)
			})
		}
	})
}

// eventuallyLogged waits for a line in Dovecot's log, which a process of its
// own writes, a moment after the mail was taken.
func eventuallyLogged(t *testing.T, dovecot *dovecottest.Server, text string) {
	t.Helper()
	assert.Eventually(t, func() bool { return strings.Contains(dovecot.Log(), text) }, waitTimeout, 10*time.Millisecond, text)
}

// authority is a certification authority of the test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
	file string // the certificate, PEM
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "Test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	a := &authority{cert: cert, key: key, dir: t.TempDir()}
	a.file = writePEM(t, a.dir, "ca.pem", "CERTIFICATE", der)
	return a
}

// issue makes a client certificate and returns its files.
func (a *authority) issue(t *testing.T, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.cert, key.Public(), a.key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	return writePEM(t, a.dir, "client.pem", "CERTIFICATE", der), writePEM(t, a.dir, "client.key", "EC PRIVATE KEY", keyDER)
}

func writePEM(t *testing.T, dir, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644))
	return path
}
