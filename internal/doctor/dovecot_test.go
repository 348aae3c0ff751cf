// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/doveconf"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecotconfig"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

const notifyPath = "/preliminary/http-notify/v1/notify"

// seed is one mistake in the configuration of a real Dovecot.
type seed struct {
	// in changes the right configuration.
	in func(config string) string
	// check is what must name it, and says what its finding must say.
	check, says string
	// want is what else is wanted of Dovecot.
	want func(*Wanted)
	// only is the version that can have it.
	only dovecottest.Version
	// imap makes the right configuration one for registration over IMAP.
	imap bool
}

func without(pattern string) func(string) string {
	return func(config string) string { return regexp.MustCompile(`(?s)`+pattern).ReplaceAllString(config, "") }
}

func replacing(old, with string) func(string) string {
	return func(config string) string { return strings.ReplaceAll(config, old, with) }
}

func appending(text string) func(string) string {
	return func(config string) string { return config + "\n" + text + "\n" }
}

var seeds = map[string]seed{
	"no dictionary, 2.3":          {only: dovecottest.V23, in: appending("mail_attribute_dict ="), check: "dovecot-dictionary", says: "nobody can be registered"},
	"plugin not loaded":           {in: func(c string) string { return loadedPlugin.ReplaceAllString(c, "\n") }, check: "dovecot-plugins", says: "not loaded"},
	"plugin without notify, 2.3":  {only: dovecottest.V23, in: replacing("notify push_notification", "push_notification"), check: "dovecot-plugins", says: "without notify"},
	"plugin without notify, 2.4":  {only: dovecottest.V24, in: replacing("    notify = yes\n", ""), check: "dovecot-plugins", says: "without notify"},
	"no driver":                   {in: without(`(plugin|push_notification caddy) \{.*?\n\}\n`), check: "dovecot-driver", says: "there is no driver"},
	"gap in the numbers":          {only: dovecottest.V23, in: appending("plugin {\n push_notification_driver3 = ox:url=http://192.0.2.7/\n}"), check: "dovecot-driver", says: "have a gap"},
	"another path":                {in: replacing(notifyPath, "/wrong"), check: "dovecot-url", says: "no driver reports to"},
	"URL that is none":            {only: dovecottest.V23, in: replacing("https://", "https:/"), check: "dovecot-url", says: "is not valid"},
	"user without password":       {in: replacing("dovecot:SECRET@", "dovecot@"), check: "dovecot-credentials", says: "no password"},
	"single percent":              {only: dovecottest.V23, in: replacing(":SECRET@", ":S%40@"), check: "dovecot-percent", says: "no mail can be delivered"},
	"no timeouts":                 {only: dovecottest.V24, in: without(`  http_client_[^\n]*\n`), check: "dovecot-timeouts", says: "1m0s"},
	"long timeout":                {only: dovecottest.V24, in: func(c string) string { return longTimeouts.ReplaceAllString(c, "timeout = 1 mins") }, check: "dovecot-timeouts", says: "1m0s"},
	"long timeout, 2.3":           {only: dovecottest.V23, in: replacing("timeout_msecs=1000", "timeout_msecs=60000"), check: "dovecot-timeouts", says: "2m0s"},
	"host name":                   {only: dovecottest.V24, in: replacing("192.0.2.1:8009", "push.example.com:8009"), check: "dovecot-lookup", says: "may crash"},
	"no CA file, 2.3":             {only: dovecottest.V23, in: without(`ssl_client_ca_file = [^\n]*\n`), check: "dovecot-https", says: "not set"},
	"imap_metadata for everybody": {in: appending("protocol imap {\n imap_metadata = yes\n}"), check: "dovecot-metadata", says: "for everybody"},
	"imap_metadata and another name": {in: func(c string) string {
		c = strings.ReplaceAll(c, "max_retries=1", "max_retries=1 user_from_metadata=no")
		c = strings.ReplaceAll(c, "  driver = ox\n", "  driver = ox\n  ox_user_from_metadata = yes\n")
		return c + "\nprotocol imap {\n imap_metadata = yes\n}\n"
	}, check: "dovecot-metadata", says: "somebody else's name"},
	"imap_metadata off": {imap: true, in: without(`remote [^{]*\{.*?\n\}\n`), want: func(w *Wanted) { w.IMAP, w.DoveAdm = true, false }, check: "dovecot-metadata", says: "it is off"},
	"imap_metadata everywhere": {imap: true, in: func(c string) string {
		return without(`remote [^{]*\{.*?\n\}\n`)(c) + "protocol imap {\n imap_metadata = yes\n}\n"
	}, want: func(w *Wanted) { w.IMAP, w.DoveAdm = true, false }, check: "dovecot-metadata", says: "for everybody"},
	"the domain is cut off, 2.3":      {only: dovecottest.V23, in: appending("auth_username_format = %Ln"), want: func(w *Wanted) { w.Logins = true }, check: "dovecot-names", says: "count as several users"},
	"the domain is cut off, 2.4":      {only: dovecottest.V24, in: appending("auth_username_format = %{user|username|lower}"), want: func(w *Wanted) { w.Logins = true }, check: "dovecot-names", says: "count as several users"},
	"DoveAdm does not listen":         {in: without(`service doveadm \{.*?\n\}\n`), check: "dovecot-doveadm", says: "does not listen"},
	"DoveAdm without a key":           {in: appending("doveadm_api_key ="), check: "dovecot-doveadm", says: "answers nobody"},
	"DoveAdm permits everything, 2.3": {only: dovecottest.V23, in: without(`doveadm_allowed_commands = [^\n]*\n`), check: "dovecot-doveadm", says: "permits every command"},
	"DoveAdm permits everything, 2.4": {only: dovecottest.V24, in: without(`doveadm_allowed_commands \{.*?\n\}\n`), check: "dovecot-doveadm", says: "permits every command"},
	"DoveAdm permits too little": {in: func(c string) string {
		return strings.ReplaceAll(strings.ReplaceAll(c, ",mailbox metadata unset", ""), "  \"mailbox metadata unset\" = yes\n", "")
	}, check: "dovecot-doveadm", says: "does not permit: mailbox metadata unset"},
	"DoveAdm permits no listing": {want: func(w *Wanted) { w.AllUsers = true }, check: "dovecot-doveadm", says: "does not permit: user"},
	"DoveAdm's list of 2.3 in 2.4": {only: dovecottest.V24, in: func(c string) string {
		return without(`doveadm_allowed_commands \{.*?\n\}\n`)(c) + "doveadm_allowed_commands = mailbox metadata set,mailbox metadata get\n"
	}, check: "dovecot-doveadm", says: "permits nothing"},
}

var (
	loadedPlugin = regexp.MustCompile(` push_notification\n|    push_notification = yes\n`)
	longTimeouts = regexp.MustCompile(`timeout = \d+m?s`)
)

// rightConfig is a configuration that nothing is wrong with.
func rightConfig(t *testing.T, version dovecottest.Version, imap bool) string {
	t.Helper()
	u, err := url.Parse("https://dovecot@192.0.2.1:8009" + notifyPath)
	require.NoError(t, err)
	s := dovecotconfig.Settings{Version: dovecotconfig.Version(version), URL: u, CAFile: "/etc/ssl/certs/ca-certificates.crt", DoveAdm: "127.0.0.1:8080", DoveAdmKey: "key"}
	if imap {
		s.DoveAdm, s.IMAPFrom = "", []netip.Prefix{netip.MustParsePrefix("192.0.2.9/32")}
	}
	var b strings.Builder
	require.NoError(t, dovecotconfig.Write(&b, s))
	return b.String()
}

// A real Dovecot has each mistake in turn, and the doctor names exactly that
// one.
func TestSeededMistakes(t *testing.T) {
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		// One server shows where its own settings end and that the right
		// configuration is right.
		server := dovecottest.Start(t, dovecottest.Config{Version: version})
		for _, imap := range []bool{false, true} {
			want := Wanted{Path: notifyPath, DoveAdm: !imap, IMAP: imap, Logins: true}
			require.Empty(t, complaints(Dovecot(configOf(t, server, rightConfig(t, version, imap)), want)), "nothing is wrong")
		}
		for name, s := range seeds {
			if s.only != "" && s.only != version {
				continue
			}
			t.Run(name, func(t *testing.T) {
				want := Wanted{Path: notifyPath, DoveAdm: true}
				if s.want != nil {
					s.want(&want)
				}
				right := rightConfig(t, version, s.imap)
				wrong := right
				if s.in != nil {
					wrong = s.in(right)
					require.NotEqual(t, right, wrong, "the mistake is in it")
				}
				found := complaints(Dovecot(configOf(t, server, wrong), want))
				if assert.Len(t, found, 1, "exactly one is named") {
					assert.Equal(t, s.check, found[0].Check)
					assert.Contains(t, found[0].Got, s.says)
					assert.NotEmpty(t, found[0].Fix)
					assert.NotContains(t, found[0].Got+found[0].Fix+found[0].Tried, "SECRET")
				}
			})
		}
	})
}

// configOf lets the server's doveconf read a configuration.
func configOf(t *testing.T, server *dovecottest.Server, config string) *doveconf.Config {
	t.Helper()
	run, err := server.DoveconfOf(config)
	require.NoError(t, err)
	c, err := doveconf.Ask(run)
	require.NoError(t, err)
	c.Local = false // Dovecot may see other files
	return c
}

func complaints(findings []Finding) []Finding {
	var found []Finding
	for _, f := range findings {
		if f.Status == Warning || f.Status == Problem {
			found = append(found, f)
		}
	}
	return found
}

// Releases with faults are named without having them here.
func TestKnownBadReleases(t *testing.T) {
	for release, says := range map[string]string{
		"2.2.13": "no ox driver", "2.3.4.1": "CVE-2019-10691", "2.3.9": "CVE-2019-19722", "2.3.9.1": "CVE-2019-19722",
		"2.2.27": "", "2.2.36.4": "", "2.3.5.2": "", "2.3.9.2": "", "2.3.21.1": "", "2.4.1-4": "", "2.4.5": "",
	} {
		d := &dovecot{Config: &doveconf.Config{Release: release}}
		d.version()
		require.Len(t, d.findings, 1)
		if says == "" {
			require.Equal(t, OK, d.findings[0].Status, release)
		} else {
			require.Contains(t, d.findings[0].Got, says, release)
		}
	}
}
