// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// The way of docs/migrating.md, with its commands, on a Dovecot that Open-Xchange
// registers its users with: their mails are reported through Caddy, and the key
// of the middleware is good for what it was good for, and no other one is.
func TestMigrating(t *testing.T) {
	t.Parallel()
	page := read(t, "docs", "migrating.md")
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		ox := startMiddleware(t)
		c := caddytestkit.New(t, "OX_PASSWORD="+oxPassword, "NOTIFY_PASSWORD=a+b/c", "DOVEADM_API_SECRET=of-the-middleware")
		endpoint, site := freeAddress(t), freeAddress(t)
		require.NoError(t, writeFile(c.Dir, "notify-password", "a+b/c\n"))
		require.NoError(t, writeFile(c.Dir, "apache2.conf", `ServerName push.internal.example
<Location /preliminary>
    Require ip 127.0.0.1
    ProxyPass http://`+ox.addr+`/preliminary
</Location>
`))
		require.NoError(t, writeFile(c.Dir, "doveadm.properties", doveadmProperties+
			"com.openexchange.rest.services.basic-auth.login="+oxUser+"\ncom.openexchange.rest.services.basic-auth.password="+oxPassword+"\n"))
		paths := strings.NewReplacer("/etc/apache2/", c.Dir+"/", "/opt/open-xchange/etc", c.Dir, "/etc/caddy/", c.Dir+"/",
			"push.internal.example:8009", endpoint, "\\\n", " ", "--dovecot 2.3", "--dovecot "+string(version))

		// The Caddyfile.
		printed, err := c.Command(strings.Fields(paths.Replace(find(t, page, `caddy (dovecot-push import [^>]*) >`)))...)
		require.NoError(t, err, printed)
		_, caddyfile, found := strings.Cut(printed, "# Made of")
		require.True(t, found, printed)
		require.Contains(t, caddyfile, "https://push.internal.example:8009 {")
		require.Contains(t, caddyfile, "http://push.internal.example {")
		caddyfile = strings.NewReplacer("https://push.internal.example:8009", "https://"+endpoint,
			"http://push.internal.example", "http://"+site).Replace("# Made of" + caddyfile)
		caddyfile = strings.Replace(caddyfile, "\n{\n", "\n{\n\tskip_install_trust\n\tauto_https disable_redirects\n", 1)
		require.NoError(t, c.Run(caddyfile), c.Log())
		awaitCertificate(t, endpoint)
		ca, err := c.Command("dovecot-push", "dovecot-config", "--print-ca", "--address", c.Admin)
		require.NoError(t, err, ca)
		require.NoError(t, writeFile(c.Dir, "push-ca.crt", ca))

		// Dovecot.
		config, err := c.Command(strings.Fields(paths.Replace(find(t, page, `(?s)caddy (dovecot-push dovecot-config [^>]*) >`)))...)
		require.NoError(t, err, config)
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, Users: users(1), SSLClientCAFile: c.Dir + "/push-ca.crt",
			ExtraConfig: strings.ReplaceAll(config, "/etc/dovecot/push-ca.crt", "{{.SSLClientCAFile}}"),
		})
		require.NoError(t, dovecot.RegisterValue("user0@example.com", "user=3@7"))
		deliver(t, dovecot, "through Caddy", "user0@example.com")
		got := ox.wait(1)[0]
		assert.Equal(t, "3@7", got.User)
		assert.Equal(t, "through Caddy", got.Subject)

		// DoveAdm takes the key that it took, and not one that a page shows.
		_, err = doveadmClient(t, dovecot, dovecot.APIKey()).MailboxStatus(t.Context(), "user0@example.com", "INBOX", "messages")
		require.NoError(t, err)
		_, err = doveadmClient(t, dovecot, "SECRET").MailboxStatus(t.Context(), "user0@example.com", "INBOX", "messages")
		require.ErrorIs(t, err, doveadm.ErrBadSecret)
	})
}

func doveadmClient(t *testing.T, dovecot *dovecottest.Server, key string) *doveadm.Client {
	t.Helper()
	c, err := doveadm.New(doveadm.Config{Endpoints: []string{dovecot.DoveAdmURL()}, APISecret: key})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}
