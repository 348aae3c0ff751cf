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
	t.Parallel()
	testdata, err := filepath.Abs(filepath.Join("..", "migrate", "testdata"))
	require.NoError(t, err)
	commands := map[string][]string{
		"properties": {"--properties", filepath.Join(testdata, "etc")},
		"utf8":       {"--properties", filepath.Join(testdata, "utf8")},
	}
	for name, c := range imports {
		for _, file := range c.files {
			commands[name] = append(commands[name], "--apache", filepath.Join(testdata, file))
		}
	}
	commands["complete"] = append(commands["complete"], commands["properties"]...)
	for name, args := range commands {
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
	broken := filepath.Join(c.Dir, "broken.conf")
	require.NoError(t, writeFile(c.Dir, "broken.conf", "ServerName a.example\nProxyPass /preliminary http://ox1:99999/preliminary\n"))
	for want, args := range map[string][]string{
		"give --apache, --properties or both":   nil,
		"no such file":                          {"--apache", "missing"},
		"nothing in these files proxies":        {"--apache", filepath.Join(testdata, "etc", "server.properties")},
		"the resulting Caddyfile does not load": {"--apache", broken},
		"there is neither":                      {"--properties", t.TempDir()},
	} {
		out, err := c.Command(append([]string{"dovecot-push", "import"}, args...)...)
		assert.Error(t, err)
		assert.Contains(t, out, want)
	}
}
