// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// What the command prints makes a real Dovecot report to this Caddy, with the
// CA that the command prints as well.
func TestDovecotConfigCommand(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		ox := startMiddleware(t)
		f := startFront(t, ox.addr)
		file := func(name, content string) string {
			path := filepath.Join(t.TempDir(), name)
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			return path
		}
		ca, err := f.Command("dovecot-push", "dovecot-config", "--print-ca", "--address", f.Admin)
		require.NoError(t, err, ca)
		config, err := f.Command("dovecot-push", "dovecot-config", "--dovecot", string(version),
			"--url", "https://"+notifyUser+"@"+f.https, "--password-file", file("password", notifyPassword+"\n"),
			"--doveadm", "127.0.0.1:8080", "--doveadm-key-file", file("key", "the-key\n"), "--ca-file", "/etc/dovecot/push-ca.crt")
		require.NoError(t, err, config)
		for old, with := range map[string]string{
			"/etc/dovecot/push-ca.crt":  "{{.SSLClientCAFile}}",
			"port = 8080":               "port = {{.DoveAdmPort}}",
			"doveadm_api_key = the-key": "doveadm_api_key = {{.APIKey}}",
		} {
			require.Contains(t, config, old)
			config = strings.ReplaceAll(config, old, with)
		}
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, Users: users(1), SSLClientCAFile: file("ca.crt", ca), ExtraConfig: config,
		})
		require.NoError(t, dovecot.Register("user0@example.com"))
		deliver(t, dovecot, "configured", "user0@example.com")
		require.Equal(t, "configured", ox.wait(1)[0].Subject)
	})
}

func TestDovecotConfigCommandMistakes(t *testing.T) {
	t.Parallel()
	c := caddytestkit.New(t)
	for want, args := range map[string][]string{
		"--dovecot and --url are needed": {},
		"a password on the command line": {"--dovecot", "2.3", "--url", "https://u:p@host/n"},
		"never accepts a certificate":    {"--dovecot", "2.2", "--url", "https://u@host/n"},
		"no configuration for Dovecot":   {"--dovecot", "3", "--url", "https://u@host/n"},
		"--register is on_subscribe":     {"--dovecot", "2.3", "--url", "https://u@host/n", "--register", "some"},
		"--doveadm needs":                {"--dovecot", "2.3", "--url", "https://u@host/n", "--doveadm", "127.0.0.1:8080"},
		"--imap-from":                    {"--dovecot", "2.3", "--url", "https://u@host/n", "--imap-from", "x"},
		"no such file":                   {"--dovecot", "2.3", "--url", "https://u@host/n", "--password-file", "missing"},
		"cannot reach the admin API":     {"--print-ca", "--address", freeAddress(t)},
	} {
		out, err := c.Command(append([]string{"dovecot-push", "dovecot-config"}, args...)...)
		require.Error(t, err, out)
		require.Contains(t, out, want)
	}
}
