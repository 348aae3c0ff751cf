// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
)

// What the command prints is a configuration that Caddy takes.
func TestImportCommand(t *testing.T) {
	testdata, err := filepath.Abs(filepath.Join("..", "migrate", "testdata"))
	require.NoError(t, err)
	for name, args := range map[string][]string{
		"article":    {"--apache", filepath.Join(testdata, "article.conf")},
		"complete":   {"--apache", filepath.Join(testdata, "complete.conf"), "--properties", filepath.Join(testdata, "etc")},
		"properties": {"--properties", filepath.Join(testdata, "etc")},
	} {
		t.Run(name, func(t *testing.T) {
			c := caddytestkit.New(t, "OX_LOGIN=l", "OX_PASSWORD=p", "NOTIFY_PASSWORD=n", "DOVEADM_API_SECRET=d")
			out, err := c.Command(append([]string{"dovecot-push", "import"}, args...)...)
			require.NoError(t, err, out)
			file := filepath.Join(c.Dir, "imported")
			require.NoError(t, os.WriteFile(file, []byte(out), 0o600))
			out, err = c.Command("validate", "--config", file, "--adapter", "caddyfile")
			require.NoError(t, err, out)
		})
	}
	c := caddytestkit.New(t)
	for want, args := range map[string][]string{
		"give --apache, --properties or both": nil,
		"no such file":                        {"--apache", "missing"},
		"there is no <Location /preliminary>": {"--apache", filepath.Join(testdata, "etc", "server.properties")},
		"there is neither":                    {"--properties", t.TempDir()},
	} {
		out, err := c.Command(append([]string{"dovecot-push", "import"}, args...)...)
		assert.Error(t, err)
		assert.Contains(t, out, want)
	}
}
