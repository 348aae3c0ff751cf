// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package middleware

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/targettest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
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

// A node may answer before it has read a body, whose rest is then still being
// sent: it must not become the body of another notification meanwhile.
func TestAnswerBeforeTheBody(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("TEST_OX_PASSWORD", "early-answer")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	target := newMiddleware(t, server.URL, server.Certificate())
	var deliveries sync.WaitGroup
	for i := range 4 {
		deliveries.Go(func() {
			body := bytes.Repeat([]byte{'a' + byte(i)}, 256<<10)
			body = append(body, `"event":"messageNew"`...)
			for range 25 {
				result := target.Deliver(t.Context(), &queue.Record{Accepted: time.Now(), Body: body})
				assert.Equal(t, delivery.TryAgain, result.Outcome)
			}
		})
	}
	deliveries.Wait()
}
