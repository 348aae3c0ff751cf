// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// The way of docs/getting-started.md, with its Caddyfile and its commands, ends
// where it says: the doctor finds nothing, and a real mail has come out.
func TestGettingStarted(t *testing.T) {
	t.Parallel()
	page := read(t, "docs", "getting-started.md")
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		c := caddytestkit.New(t)
		endpoint, site := freeAddress(t), freeAddress(t)
		require.NoError(t, writeFile(c.Dir, "notify-password", "a+b/c\n"))
		paths := []string{"/etc/caddy/", c.Dir + "/", "127.0.0.1:8009", endpoint}

		// Dovecot, with what the command prints.
		command := find(t, page, `caddy (dovecot-push dovecot-config --dovecot 2\.3[^>]*) >`)
		command = strings.NewReplacer(append(paths, "\\\n", " ", "--dovecot 2.3", "--dovecot "+string(version))...).Replace(command)
		require.NoError(t, writeFile(c.Dir, "doveadm-secret", "{{.APIKey}}\n"))
		config, err := c.Command(strings.Fields(command)...)
		require.NoError(t, err, config)
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, Users: users(1),
			ExtraConfig: strings.ReplaceAll(config, "port = 8080", "port = {{.DoveAdmPort}}"),
		})

		// Caddy.
		require.NoError(t, writeFile(c.Dir, "doveadm-secret", dovecot.APIKey()+"\n"))
		caddyfile := find(t, page, "(?s)```caddyfile\n(.*?)```")
		caddyfile = strings.NewReplacer(append(paths, "http://127.0.0.1:8080", dovecot.DoveAdmURL(), "imap://127.0.0.1", "imap://"+dovecot.IMAPAddr(),
			"mail.example.com {", "https://"+site+" {\n\ttls internal")...).Replace(caddyfile)
		caddyfile = strings.Replace(caddyfile, "{\n", "{\n\tskip_install_trust\n\tauto_https disable_redirects\n", 1)
		require.NoError(t, c.Run(caddyfile), c.Log())
		awaitCertificate(t, site)

		out, err := c.Command("dovecot-push", "register", "user0@example.com", "--address", c.Admin)
		require.NoError(t, err, out)
		findings := examine(t, &front{Caddy: c}, dovecot, "--user", "user0@example.com", "--deliver", dovecot.LMTPAddr())
		assert.Empty(t, wrong(findings))

		// And the page is there, for whom Dovecot knows.
		status, _ := newPerson(t, "https://"+site+"/push", c.RootCA()).as("user0@example.com", "pass").call(http.MethodGet, "/api/session", "")
		assert.Equal(t, http.StatusOK, status)
	})
}
