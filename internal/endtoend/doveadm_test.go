// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
)

// The connector is there after the start and after a reload with another
// endpoint, and its secret is nowhere to be seen.
func TestDoveAdmConnector(t *testing.T) {
	t.Parallel()
	const secret = "doveadm-secret-4711"
	first, second := doveadmtest.Start(t, doveadmtest.Config{}), doveadmtest.Start(t, doveadmtest.Config{})
	config := "{\n\tskip_install_trust\n\tlog {\n\t\tlevel DEBUG\n\t}\n\tdovecot_push {\n\t\tdoveadm " + first.URL() +
		" {\n\t\t\tapi_secret {env.DOVEADM_API_SECRET}\n\t\t}\n\t}\n}\n"
	c := caddytestkit.Start(t, config, "DOVEADM_API_SECRET="+secret)
	up := func(url string) string {
		return `caddy_dovecot_push_doveadm_endpoint_up{endpoint="` + strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/doveadm/v1") + `"} 1`
	}
	metrics, err := c.Metrics()
	require.NoError(t, err)
	assert.Contains(t, metrics, up(first.URL()))
	status, err := c.Command("dovecot-push", "status", "--address", c.Admin)
	require.NoError(t, err, status)
	assert.Contains(t, status, "in service")

	require.NoError(t, c.Reload(strings.Replace(config, first.URL(), second.URL(), 1)))
	metrics, err = c.Metrics()
	require.NoError(t, err)
	assert.Contains(t, metrics, up(second.URL()))
	assert.NotContains(t, metrics, up(first.URL()))
	c.Stop()
	assert.NotContains(t, c.Log()+metrics+status, secret)
}
