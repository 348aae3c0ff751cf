// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const propertiesFile = `# Settings for the connector to Dovecot's DoveAdm
com.openexchange.dovecot.doveadm.enabled=true
com.openexchange.dovecot.doveadm.endpoints=http://imap1:8080/doveadm/v1,\
    http://imap2:8080/doveadm/v1 ,
com.openexchange.dovecot.doveadm.apiSecret=s\u0065cret\=
com.openexchange.dovecot.doveadm.endpoints.totalConnections=50
com.openexchange.dovecot.doveadm.endpoints.maxConnectionsPerRoute = 20
com.openexchange.dovecot.doveadm.endpoints.readTimeout: 2500
com.openexchange.dovecot.doveadm.endpoints.connectTimeout 1500
com.openexchange.dovecot.doveadm.endpoints.checkInterval=30000
com.openexchange.dovecot.doveadm.endpoints.default=http://imap3:8080/doveadm/v1
com.openexchange.dovecot.doveadm.apisecret=typo
com.openexchange.push.dovecot.enabled=true
`

func TestReadProperties(t *testing.T) {
	cfg, unknown, err := ReadProperties(strings.NewReader(propertiesFile))
	require.NoError(t, err)
	assert.Equal(t, Config{
		Endpoints:        []string{"http://imap1:8080/doveadm/v1", "http://imap2:8080/doveadm/v1"},
		APISecret:        "secret=",
		TotalConnections: 50, MaxConnectionsPerRoute: 20,
		ReadTimeout: 2500 * time.Millisecond, ConnectTimeout: 1500 * time.Millisecond, CheckInterval: 30 * time.Second,
	}, cfg)
	assert.Equal(t, []string{PropertyPrefix + "apisecret", PropertyPrefix + "endpoints.default"}, unknown)
}

func TestReadPropertiesErrors(t *testing.T) {
	for content, want := range map[string]string{
		"":                                 "enabled is not true",
		PropertyPrefix + "enabled=false":   "enabled is not true",
		PropertyPrefix + "apiSecret=\\ust": "hexadecimal",
		PropertyPrefix + "endpoints.readTimeout=st\n" + PropertyPrefix + "endpoints.checkInterval=99999999999": "endpoints.checkInterval is no number",
		strings.Repeat("#", maxProperties+1): "longer than",
	} {
		_, _, err := ReadProperties(strings.NewReader(content))
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "st\n")
	}
	_, _, err := ReadProperties(strings.NewReader(PropertyPrefix + "enabled = TRUE\n"))
	require.NoError(t, err)
}
