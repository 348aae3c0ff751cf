// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority issues client certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{cert, key}
}

func (a *authority) issue(t *testing.T) *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "imap1.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestClientCertificate(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	const verify, ask = tls.VerifyClientCertIfGiven, tls.RequestClientCert
	tests := []struct {
		name        string
		server      tls.ClientAuthType
		mode        CertificateMode
		credentials bool // the handler has some
		certificate *tls.Certificate
		show        string // the password that the client shows
		status      int
		result      Result
	}{
		{"sufficient: verified", verify, CertificateSufficient, true, ours.issue(t), "", 200, Accepted},
		{"sufficient: verified, no credentials here", verify, CertificateSufficient, false, ours.issue(t), "", 200, Accepted},
		{"sufficient: verified, wrong credentials", verify, CertificateSufficient, true, ours.issue(t), "wrong", 200, Accepted},
		{"sufficient: none, right credentials", verify, CertificateSufficient, true, nil, "secret", 200, Accepted},
		{"sufficient: none, no credentials", verify, CertificateSufficient, true, nil, "", 401, Unauthorized},
		{"sufficient: none, no credentials here", verify, CertificateSufficient, false, nil, "secret", 403, NoClientCertificate},
		{"sufficient: unverified", ask, CertificateSufficient, true, ours.issue(t), "", 401, Unauthorized},
		{"sufficient: unverified, of another authority", ask, CertificateSufficient, true, others.issue(t), "", 401, Unauthorized},
		{"sufficient: unverified, no credentials here", ask, CertificateSufficient, false, ours.issue(t), "", 403, NoClientCertificate},

		{"required: verified and right credentials", verify, CertificateRequired, true, ours.issue(t), "secret", 200, Accepted},
		{"required: verified, wrong credentials", verify, CertificateRequired, true, ours.issue(t), "wrong", 401, Unauthorized},
		{"required: verified, no credentials", verify, CertificateRequired, true, ours.issue(t), "", 401, Unauthorized},
		{"required: verified, no credentials here", verify, CertificateRequired, false, ours.issue(t), "", 200, Accepted},
		{"required: none, right credentials", verify, CertificateRequired, true, nil, "secret", 403, NoClientCertificate},
		{"required: unverified, right credentials", ask, CertificateRequired, true, ours.issue(t), "secret", 403, NoClientCertificate},

		{"ignored: verified", verify, CertificateIgnored, true, ours.issue(t), "", 401, Unauthorized},
		{"ignored: verified, nothing set", verify, CertificateIgnored, false, ours.issue(t), "", 403, Unauthorized},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := handler(t, func(h *Handler) {
				h.ClientCertificate = tt.mode
				if !tt.credentials {
					h.Credentials = nil
				}
			})
			e.server = httptest.NewUnstartedServer(e.Handler)
			e.server.TLS = &tls.Config{ClientAuth: tt.server, ClientCAs: pool}
			e.server.StartTLS()
			t.Cleanup(e.server.Close)
			c := client(t)
			transport := c.Transport.(*http.Transport)
			transport.TLSClientConfig = e.server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			if tt.certificate != nil {
				transport.TLSClientConfig.Certificates = []tls.Certificate{*tt.certificate}
			}
			// The second time over a resumed TLS session.
			for range 2 {
				got := e.send(t, c, put(body, func(r *http.Request) {
					if tt.show == "" {
						r.Header.Del("Authorization")
					} else {
						r.SetBasicAuth("dovecot", tt.show)
					}
				}))
				require.Equal(t, tt.status, got.status, got.body)
				require.Equal(t, tt.result, e.result(t))
				transport.CloseIdleConnections()
			}
		})
	}
}
