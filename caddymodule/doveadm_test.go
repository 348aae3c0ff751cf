// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

const testUser = "alice@example.com"

// writeProperties writes a doveadm.properties and returns its path.
func writeProperties(t *testing.T, properties map[string]string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Settings for Dovecot\ncom.openexchange.push.dovecot.enabled=true\n")
	for name, value := range properties {
		fmt.Fprintf(&b, "%s%s = %s\n", doveadm.PropertyPrefix, name, value)
	}
	path := filepath.Join(t.TempDir(), "doveadm.properties")
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
	return path
}

// newCertificate is some certificate in PEM.
func newCertificate(t *testing.T) []byte {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func provisionDoveAdm(t *testing.T, d *DoveAdm) (log *strings.Builder, err error) {
	t.Helper()
	log = new(strings.Builder)
	inner := slog.New(slog.NewTextHandler(log, nil))
	err = d.provision(zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(log), zap.DebugLevel)), inner)
	if d.client != nil {
		t.Cleanup(d.client.Close)
	}
	return log, err
}

// The settings of Open-Xchange work as they are.
func TestDoveAdmProperties(t *testing.T) {
	server := doveadmtest.Start(t, doveadmtest.Config{Users: []string{testUser}})
	d := &DoveAdm{PropertiesFile: writeProperties(t, map[string]string{
		"enabled": "true", "endpoints": server.URL(), "apiSecret": server.APISecret(),
		"endpoints.checkIntervall": "1", "apisecret": "swordfish",
	})}
	log, err := provisionDoveAdm(t, d)
	require.NoError(t, err)
	require.NoError(t, d.client.MetadataSet(t.Context(), testUser, "/private/x", "1"))
	assert.Contains(t, log.String(), `"level":"warn"`)
	assert.Contains(t, log.String(), doveadm.PropertyPrefix+"apisecret")
	assert.Contains(t, log.String(), doveadm.PropertyPrefix+"endpoints.checkIntervall")
	assert.NotContains(t, log.String(), server.APISecret())
	assert.NotContains(t, log.String(), "swordfish")
}

// What the block says wins over what the file says.
func TestDoveAdmBlockBeforeProperties(t *testing.T) {
	t.Setenv("TEST_SECRET", "of-the-block")
	d := &DoveAdm{
		APISecret: "{env.TEST_SECRET}", TotalConnections: 7, ReadTimeout: caddy.Duration(time.Second),
		PropertiesFile: writeProperties(t, map[string]string{
			"enabled": "true", "endpoints": "http://imap1:8080,http://imap2:8080", "apiSecret": "of-the-file",
			"endpoints.totalConnections": "50", "endpoints.maxConnectionsPerRoute": "20", "endpoints.readTimeout": "2500",
			"endpoints.connectTimeout": "1500", "endpoints.checkInterval": "30000",
		}),
	}
	cfg, err := d.config()
	require.NoError(t, err)
	require.NoError(t, d.addProperties(&cfg, zap.NewNop()))
	assert.Equal(t, doveadm.Config{
		Endpoints: []string{"http://imap1:8080", "http://imap2:8080"}, APISecret: "of-the-block",
		TotalConnections: 7, MaxConnectionsPerRoute: 20,
		ReadTimeout: time.Second, ConnectTimeout: 1500 * time.Millisecond, CheckInterval: 30 * time.Second,
	}, cfg)

	d = &DoveAdm{Endpoints: []string{"http://imap3"}, Username: "doveadm", Password: "{env.TEST_SECRET}", PropertiesFile: d.PropertiesFile}
	cfg, err = d.config()
	require.NoError(t, err)
	require.NoError(t, d.addProperties(&cfg, zap.NewNop()))
	assert.Equal(t, []string{"http://imap3"}, cfg.Endpoints)
	assert.Empty(t, cfg.APISecret)
	assert.Equal(t, "of-the-block", cfg.Password)
}

func TestDoveAdmPropertiesMistakes(t *testing.T) {
	for _, test := range []struct {
		properties map[string]string
		want       string
	}{
		{map[string]string{"endpoints": "http://imap1", "apiSecret": "swordfish"}, "enabled is not true"},
		{map[string]string{"enabled": "true", "endpoints": "http://imap1"}, "no secret is given"},
		{map[string]string{"enabled": "true", "apiSecret": "swordfish"}, "no endpoint is given"},
		{map[string]string{"enabled": "true", "endpoints": "http://doveadm:swordfish@imap1", "apiSecret": "swordfish"}, "has credentials"},
		{map[string]string{"enabled": "true", "apiSecret": "swordfish", "endpoints.readTimeout": "swordfish"}, "endpoints.readTimeout is no number"},
	} {
		_, err := provisionDoveAdm(t, &DoveAdm{PropertiesFile: writeProperties(t, test.properties)})
		require.ErrorContains(t, err, test.want)
		assert.NotContains(t, err.Error(), "swordfish")
	}
}

func TestDoveAdmMetrics(t *testing.T) {
	t.Setenv("TEST_SECRET", doveadmtest.DefaultAPISecret)
	up, down := doveadmtest.Start(t, doveadmtest.Config{Users: []string{testUser}}), doveadmtest.Start(t, doveadmtest.Config{})
	app := &App{DoveAdm: &DoveAdm{Endpoints: []string{up.URL(), down.URL()}, APISecret: "{env.TEST_SECRET}"}}
	_, err := provisionDoveAdm(t, app.DoveAdm)
	require.NoError(t, err)
	down.Interfere(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		w.WriteHeader(http.StatusNotFound)
		return true
	})
	for range 3 {
		require.NoError(t, app.doveadmClient().MetadataSet(t.Context(), testUser, "/private/x", "1"))
	}
	endpoints := app.doveadmClient().Endpoints()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(doveadmCollector{app}))
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(strings.NewReplacer(
		"UP", endpoints[0].Address, "DOWN", endpoints[1].Address).Replace(`
# HELP caddy_dovecot_push_doveadm_endpoint_connections Open connections to the endpoint.
# TYPE caddy_dovecot_push_doveadm_endpoint_connections gauge
caddy_dovecot_push_doveadm_endpoint_connections{endpoint="UP"} 0
caddy_dovecot_push_doveadm_endpoint_connections{endpoint="DOWN"} 0
# HELP caddy_dovecot_push_doveadm_endpoint_up Whether the endpoint is in service (1) or not (0).
# TYPE caddy_dovecot_push_doveadm_endpoint_up gauge
caddy_dovecot_push_doveadm_endpoint_up{endpoint="UP"} 1
caddy_dovecot_push_doveadm_endpoint_up{endpoint="DOWN"} 0
`))))
	assert.InDelta(t, 3, testutil.ToFloat64(doveadmRequests.WithLabelValues(endpoints[0].Address, "ok")), 0)
	assert.InDelta(t, 1, testutil.ToFloat64(doveadmRequests.WithLabelValues(endpoints[1].Address, "not_served")), 0)

	status := app.doveadmStatus()
	require.Len(t, status, 2)
	assert.Equal(t, adminapi.DoveAdmStatus{Endpoint: endpoints[0].Address, Up: true}, status[0])
	assert.False(t, status[1].Up)
	assert.Contains(t, status[1].Error, "status 404")
	assert.NotNil(t, status[1].Since)
	assert.Empty(t, new(App).doveadmStatus())
}
