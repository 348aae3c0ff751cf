// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// selfSigned is a certificate for 127.0.0.1 and for clients that is its own CA.
type selfSigned struct {
	certificate tls.Certificate
	pool        *x509.CertPool
	certPEM     []byte
	keyPEM      []byte
}

func newSelfSigned(t *testing.T) *selfSigned {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	s := &selfSigned{
		pool:    x509.NewCertPool(),
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
	require.True(t, s.pool.AppendCertsFromPEM(s.certPEM))
	s.certificate, err = tls.X509KeyPair(s.certPEM, s.keyPEM)
	require.NoError(t, err)
	return s
}

func TestTLS(t *testing.T) {
	server := newSelfSigned(t)
	test := func(t *testing.T, url, secret string) {
		c := newClient(t, doveadm.Config{Endpoints: []string{url}, APISecret: secret, TLS: &tls.Config{RootCAs: server.pool}})
		require.NoError(t, c.MetadataSet(t.Context(), alice, key, "x"))
		_, err := c.Raw(t.Context(), "mailboxMetadataGet", map[string]any{"user": alice})
		require.ErrorIs(t, err, doveadm.ErrNoAnswer, "as without TLS")
		require.True(t, c.Endpoints()[0].InService)

		c = newClient(t, doveadm.Config{Endpoints: []string{url}, APISecret: secret})
		_, err = c.MetadataGet(t.Context(), alice, key)
		require.ErrorIs(t, err, doveadm.ErrUnreachable)
		assert.ErrorContains(t, err, "certificate")
	}
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		dir := t.TempDir()
		cfg := dovecottest.Config{
			Version: version, Users: []dovecottest.User{{Name: alice}},
			SSLClientCertFile: filepath.Join(dir, "crt"), SSLClientKeyFile: filepath.Join(dir, "key"),
			ExtraConfig: "ssl = yes\nssl_cert = <{{.SSLClientCertFile}}\nssl_key = <{{.SSLClientKeyFile}}\n" +
				"service doveadm {\ninet_listener http {\nssl = yes\n}\n}\n",
		}
		if version == dovecottest.V24 {
			cfg.ExtraConfig = strings.NewReplacer("ssl_cert = <", "ssl_server_cert_file = ", "ssl_key = <", "ssl_server_key_file = ").Replace(cfg.ExtraConfig)
		}
		require.NoError(t, os.WriteFile(cfg.SSLClientCertFile, server.certPEM, 0o600))
		require.NoError(t, os.WriteFile(cfg.SSLClientKeyFile, server.keyPEM, 0o600))
		dovecot := dovecottest.Start(t, cfg)
		test(t, strings.Replace(dovecot.DoveAdmURL(), "http:", "https:", 1), dovecot.APIKey())
	})
	t.Run("doveadmtest", func(t *testing.T) {
		fake := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server.certificate}})
		test(t, fake.URL, doveadmtest.DefaultAPISecret)
	})
}

// A server in front of Dovecot may ask for a client certificate.
func TestClientCertificate(t *testing.T) {
	server, client := newSelfSigned(t), newSelfSigned(t)
	fake := serveTLS(t, &tls.Config{
		Certificates: []tls.Certificate{server.certificate}, ClientCAs: client.pool, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	cfg := doveadm.Config{
		Endpoints: []string{fake.URL}, APISecret: doveadmtest.DefaultAPISecret,
		TLS: &tls.Config{RootCAs: server.pool, Certificates: []tls.Certificate{client.certificate}},
	}
	_, err := newClient(t, cfg).MetadataGet(t.Context(), alice, key)
	require.NoError(t, err)
	cfg.TLS = &tls.Config{RootCAs: server.pool}
	_, err = newClient(t, cfg).MetadataGet(t.Context(), alice, key)
	require.ErrorContains(t, err, "certificate required")
}

func serveTLS(t *testing.T, cfg *tls.Config) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(doveadmtest.NewDovecot(doveadmtest.Config{Users: []string{alice}}))
	s.TLS = cfg
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}
