// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/targettest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	targettest.Run(t, targettest.Kit{
		New: func(t *testing.T, url string, ca *x509.Certificate) delivery.Deliverer {
			trust := new(tls.Config)
			if ca != nil {
				trust.RootCAs = x509.NewCertPool()
				trust.RootCAs.AddCert(ca)
			}
			return newTarget(t, Config{
				URL: url, Content: notification.Full, TLS: trust,
				Secrets: [][]byte{[]byte("conformance-secret-0123456789")}, Username: "user", Password: "conformance-password",
			})
		},
		Outcomes: map[int]delivery.Outcome{410: delivery.Misconfigured},
		Secrets:  []string{"conformance-secret", "conformance-password"},
	})
}

func newTarget(t testing.TB, cfg Config) *Target {
	t.Helper()
	cfg.Decoder = new(notification.Decoder)
	target, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(target.Close)
	return target
}
