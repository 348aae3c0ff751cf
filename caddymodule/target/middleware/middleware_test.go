// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package middleware

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/targettest"
)

func TestMiddlewareConformance(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("TEST_OX_PASSWORD", "conformance-password")
	targettest.Run(t, targettest.Kit{
		New:     newMiddleware,
		Secrets: []string{"conformance-password"},
	})
}

func newMiddleware(t *testing.T, to string, ca *x509.Certificate) delivery.Deliverer {
	t.Helper()
	u, err := url.Parse(to)
	require.NoError(t, err)
	upstream := u.Host
	if u.Port() == "" {
		upstream += ":80"
	}
	transport := map[string]any{"protocol": "http"}
	if u.Scheme == "https" {
		transport["tls"] = map[string]any{}
		if ca != nil {
			transport["tls"] = map[string]any{"ca": map[string]any{
				"provider": "inline", "trusted_ca_certs": []string{base64.StdEncoding.EncodeToString(ca.Raw)},
			}}
		}
	}
	proxy, err := json.Marshal(map[string]any{
		"handler": "reverse_proxy", "transport": transport, "upstreams": []any{map[string]any{"dial": upstream}},
	})
	require.NoError(t, err)
	ctx, err := caddy.ProvisionContext(new(caddy.Config))
	require.NoError(t, err)
	m := &Middleware{Path: u.Path, Username: "login", Password: "{env.TEST_OX_PASSWORD}", ReverseProxyRaw: proxy}
	require.NoError(t, m.Provision(ctx))
	return m.Target().Deliverer
}
