// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
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
	}
}

func TestEvents(t *testing.T) {
	body := func(event string) *queue.Record {
		return &queue.Record{Body: []byte(`{"user":"alice","event":"` + event + `","folder":"INBOX","imap-uidvalidity":1,"imap-uid":7,"flags":["\\Seen"]}`)}
	}
	wants := func(f Filter, event string) bool {
		return newTarget(t, Config{URL: "https://hooks.example", Filter: f}).Wants(body(event))
	}
	seen := notification.Events{notification.FlagsSet}
	assert.True(t, wants(Filter{}, "messageNew"))
	assert.True(t, wants(Filter{}, "MessageNew"))
	assert.True(t, wants(Filter{Events: notification.AllEvents}, "messageNew"))
	assert.False(t, wants(Filter{Folders: []string{"Work"}}, "messageNew"))
	assert.False(t, wants(Filter{}, `messageRead","x":"\"event\":\"messageNew\"`))
	assert.False(t, wants(Filter{}, "flagsSet"))
	assert.True(t, wants(Filter{Events: seen}, "flagsSet"))
	assert.False(t, wants(Filter{Events: seen}, "messageNew"))
	assert.False(t, wants(Filter{Events: seen, Users: []string{"bob"}}, "flagsSet"))
	assert.True(t, wants(Filter{Events: notification.AllEvents, Users: []string{"a*"}}, "messageRead"))

	r := startReceiver(t)
	cfg := Config{URL: r.URL, Filter: Filter{Events: seen}, Content: notification.Full}
	target := newTarget(t, cfg)
	target.decoder = &notification.Decoder{Events: notification.AllEvents}
	assert.Equal(t, delivery.Delivered, target.Deliver(t.Context(), body("flagsSet")).Outcome)
	require.Len(t, r.got, 1)
	assert.JSONEq(t, `{"type":"mail.event","timestamp":"0001-01-01T00:00:00Z","data":{"user":"alice","folder":"INBOX","uid":7,"uidValidity":1,`+
		`"event":"flagsSet","flags":["\\Seen"]}}`, string(r.got[0].body))
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
