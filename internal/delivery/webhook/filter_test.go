// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

func TestFilter(t *testing.T) {
	for _, test := range []struct {
		users, folders string // of the filter, separated by blanks
		user, folder   string
		want           bool
	}{
		{"", "", "alice@example.com", "INBOX", true},
		{"*", "*", "alice@example.com", "INBOX", true},
		{"alice@example.com", "", "alice@example.com", "INBOX", true},
		{"alice@example.com", "", "Alice@Example.COM", "INBOX", true},
		{"ALICE@example.com", "", "alice@example.com", "INBOX", true},
		{"alice@example.com", "", "malice@example.com", "INBOX", false},
		{"alice@example.com", "", "alice@example.com.evil.example", "INBOX", false},
		{"alice", "", "alice@example.com", "INBOX", false},
		{"*@example.com", "", "alice@example.com", "INBOX", true},
		{"*@example.com", "", "alice@sub.example.com", "INBOX", false},
		{"*@example.com", "", "alice@notexample.com", "INBOX", false},
		{"*@*.example.com", "", "alice@sub.example.com", "INBOX", true},
		{"a*c*e", "", "abcde", "INBOX", true},
		{"a*c*e", "", "ace", "INBOX", true},
		{"a*c*e", "", "ae", "INBOX", false},
		{"ab*ba", "", "aba", "INBOX", false},
		{"bob@example.com *@example.org", "", "alice@example.org", "INBOX", true},
		{"bob@example.com *@example.org", "", "alice@example.com", "INBOX", false},
		{"a.ice", "", "alice", "INBOX", false},
		{"", "INBOX", "alice", "inbox", true},
		{"", "inbox", "alice", "INBOX", true},
		{"", "INBOX", "alice", "INBOX/Work", false},
		{"", "inbox/*", "alice", "INBOX/Work", true},
		{"", "INBOX*", "alice", "INBOX/Work", true},
		{"", "Work", "alice", "work", false},
		{"", "INBOX", "alice", "Inboxes", false},
		{"", "Lists/* Work", "alice", "Lists/go-nuts/2026", true},
		{"*@example.com", "INBOX", "alice@example.com", "Sent", false},
		{"*@example.com", "INBOX", "alice@example.org", "INBOX", false},
	} {
		f := newFilter(Filter{Users: strings.Fields(test.users), Folders: strings.Fields(test.folders)})
		n := &notification.Notification{User: test.user, Folder: test.folder}
		assert.Equal(t, test.want, f.match(n), "%+v", test)
		assert.Equal(t, test.users == "" && test.folders == "", f.all())
	}
}

// Patterns say what the regular expression for them says.
func FuzzPattern(f *testing.F) {
	f.Add("a*b*c", "abbc")
	f.Add("*", "")
	f.Add("**a", "aa")
	f.Fuzz(func(t *testing.T, p, s string) {
		want, err := regexp.MatchString(`(?s)^`+strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, `.*`)+`$`, s)
		if err != nil {
			return // no UTF-8
		}
		require.Equal(t, want, newPattern(p).match(s), "%q %q", p, s)
	})
}
