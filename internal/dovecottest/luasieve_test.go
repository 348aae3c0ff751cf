// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// sieveScript does with a mail what its subject says.
const sieveScript = `require ["fileinto", "imap4flags", "mailbox"];
if header :contains "subject" "read" { addflag "\\Seen"; }
if header :contains "subject" "junk" { fileinto :create "Junk"; }
if header :contains "subject" "inbox-spam" { fileinto :create "INBOX/Spam"; }
if header :contains "subject" "list" { fileinto :create "Lists"; }
if header :contains "subject" "kept" { keep; }
`

// pigeonhole makes deliveries run the script.
var pigeonhole = map[Version]string{
	V23: `
protocol lmtp {
  mail_plugins = $mail_plugins sieve
}
plugin {
  sieve = file:{{.Dir}}/user.sieve
}
`,
	V24: `
protocol lmtp {
  mail_plugins {
    sieve = yes
  }
}
sieve_script personal {
  path = {{.Dir}}/user.sieve
}
`,
}

// A mail is reported once, and none that nobody is to be called for: that came
// into Junk, or that a Sieve script marked as read.
func TestLuaScriptWithSieve(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		for _, everything := range []bool{false, true} {
			e := newLuaEndpoint(t)
			var options []string
			if everything {
				options = []string{`{ "Junk", "Spam", "Trash" }`, "{}", "report_read = false", "report_read = true", "report_copies = false", "report_copies = true"}
			}
			s := startLuaWith(t, version, e, Config{ExtraConfig: pigeonhole[version], Files: map[string]string{"user.sieve": sieveScript}}, options...)
			for _, m := range []struct{ subject, reported, everything string }{
				{"hello", "INBOX", "INBOX"},
				{"read", "", "INBOX"},
				{"junk", "", "Junk"},
				{"inbox-spam", "", "INBOX/Spam"},
				{"list", "Lists", "Lists"},
				{"list kept", "Lists", "Lists INBOX"},
				{"list kept, without Message-ID", "Lists INBOX", "Lists INBOX"},
				{"junk kept", "INBOX", "Junk INBOX"},
				{"list kept read", "", "Lists INBOX"},
				{"hello", "INBOX", "INBOX"},
			} {
				id := "Message-ID: <" + rand.Text() + "@example.net>\r\n"
				if strings.Contains(m.subject, "without") {
					id = ""
				}
				text := []byte("From: a@example.net\r\n" + id + "Subject: " + m.subject + "\r\n\r\nHello\r\n")
				for range 2 { // the same mail comes twice, which is reported twice
					e.take()
					_, err := s.Deliver("", []string{DefaultUser}, text)
					require.NoError(t, err)
					var folders []string
					for _, n := range e.take() {
						if n.Event == notification.MessageNew {
							folders = append(folders, n.Folder)
						}
					}
					want := m.reported
					if everything {
						want = m.everything
					}
					assert.Equal(t, want, strings.Join(folders, " "), "%s, everything: %v", m.subject, everything)
				}
			}
		}
	})
}
