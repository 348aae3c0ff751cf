// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
)

// vapid runs the command and returns the public keys, the newest first.
func vapid(t *testing.T, c *caddytestkit.Caddy, what string) []string {
	t.Helper()
	out, err := c.Command("dovecot-push", "vapid", what, "--json", "--address", c.Admin)
	require.NoError(t, err, out)
	var answer struct {
		Keys []struct {
			PublicKey string `json:"public_key"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &answer), out)
	var keys []string
	for _, k := range answer.Keys {
		keys = append(keys, k.PublicKey)
	}
	assert.NotContains(t, strings.ToLower(out), "private")
	return keys
}

// The keys are made at the first start and outlive every other; a rotation
// keeps the one before.
func TestVAPIDKeys(t *testing.T) {
	t.Parallel()
	const config = "{\n\tskip_install_trust\n\tdovecot_push {\n\t\tdeliver webpush {\n\t\t\tcontact postmaster@example.com\n\t\t}\n\t}\n}\n"
	c := caddytestkit.Start(t, config)
	first := vapid(t, c, "show")
	require.Len(t, first, 1)
	c.Kill()
	require.NoError(t, c.Run(config), c.Log())
	assert.Equal(t, first, vapid(t, c, "show"))

	rotated := vapid(t, c, "rotate")
	require.Len(t, rotated, 2)
	assert.Equal(t, first[0], rotated[1])
	require.NoError(t, c.Reload(strings.Replace(config, "contact", "ttl 1h\n\t\t\tcontact", 1)))
	assert.Equal(t, rotated, vapid(t, c, "show"))
	out, err := c.Command("dovecot-push", "vapid", "show", "--address", c.Admin)
	require.NoError(t, err, out)
	assert.Contains(t, out, rotated[0])

	require.NoError(t, c.Reload("{\n\tdovecot_push\n}\n"))
	out, err = c.Command("dovecot-push", "vapid", "rotate", "--address", c.Admin)
	require.Error(t, err)
	assert.Contains(t, out, "no deliver webpush is configured")
}
