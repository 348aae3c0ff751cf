// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mailURL is what the page makes of a configuration and a mail.
func (s stage) mailURL(mailURL string, user, folder any, uid int) string {
	s.tab.t.Helper()
	config := map[string]any{"webmailURL": "https://webmail.example.com/", "mailURL": mailURL}
	place := map[string]any{"folder": folder, "uid": uid}
	return eval[string](s.tab, "(await import('./js/webmail.js')).mailURL("+toJSON(s.tab.t, config)+", "+toJSON(s.tab.t, user)+", "+toJSON(s.tab.t, place)+")")
}

// The webmails of docs/page.md are sent to their mails by the URLs that they have
// themselves.
func TestWebmails(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	page, err := os.ReadFile("../../../docs/page.md")
	require.NoError(t, err)
	documented := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| (\\w[\\w ]+) \\| `(https://[^`]+\\{uid\\}[^`]*)` \\|$").FindAllStringSubmatch(string(page), -1) {
		documented[m[1]] = s.mailURL(m[2], "alice@example.com", "INBOX", 53)
	}
	assert.Equal(t, map[string]string{
		"Roundcube":    "https://mail.example.com/?_task=mail&_mbox=INBOX&_uid=53&_action=show",
		"SnappyMail":   "https://mail.example.com/#/mailbox/INBOX/m53",
		"SOGo":         "https://mail.example.com/SOGo/so/alice%40example.com/Mail/view#!/Mail/0/INBOX/53",
		"OX App Suite": "https://mail.example.com/appsuite/#!!&app=io.ox/mail/detail&folder=default0/INBOX&id=53",
	}, documented)
}

// Nothing in a name leads elsewhere.
func TestMailURLOfHostileNames(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	const webmail = "https://webmail.example.com/"
	for _, name := range []string{"/evil.example", "//evil.example", `\\evil.example`, "../..", "?q=1", "#f", "&uid=1", "%2e%2e", "javascript:alert(1)", "a b", "ä😀", "!'()*", "{uid}"} {
		for _, template := range []string{"/{folder}/{uid}", webmail + "{folder}/{uid}", webmail + "?f={folder}&u={uid}", webmail + "#{folder}/{uid}"} {
			got := s.mailURL(template, "alice", name, 53)
			assert.Regexp(t, `^(`+regexp.QuoteMeta(webmail)+`|/)(\?f=|#)?([A-Za-z0-9._~-]|%[0-9A-F]{2})+(/|&u=)53$`, got, name)
		}
	}
	for _, name := range []any{"", ".", "..", nil} {
		assert.Equal(t, webmail, s.mailURL(webmail+"{folder}/{uid}", "alice", name, 53), name)
		assert.Equal(t, webmail, s.mailURL(webmail+"{user}/{uid}", name, "INBOX", 53), name)
	}
	assert.Equal(t, webmail, s.mailURL(webmail+"{uid}", "alice", "INBOX", 0))
}

// Each mail on the page leads to itself where the webmail has URLs for them.
func TestMailsLeadToTheWebmail(t *testing.T) {
	s := newStage(t, "en")
	s.config["webmailURL"], s.config["mailURL"] = "https://webmail.example.com/", "https://webmail.example.com/#{user}/{folder}/{uid}"
	s.signedIn()
	s.awaitText("#stream", "Live")
	s.emit("1", "mail", newMail(53, "Mia <mia@example.net>", "Photos"))
	s.awaitText(".mail a .subject", "Photos")
	assert.Equal(t, "https://webmail.example.com/#alice%40example.com/INBOX/53", eval[string](s.tab, "document.querySelector('.mail a').href"))
	assert.Equal(t, "https://webmail.example.com/", eval[string](s.tab, "document.getElementById('webmail').href"))
}
