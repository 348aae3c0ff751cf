// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package middleware

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// The middleware gets new mails and nothing else, however they are spelled.
func TestOnlyNewMails(t *testing.T) {
	for body, want := range map[string]int{
		`{"user":"u","event":"messageNew","folder":"INBOX","imap-uid":1}`:                1,
		`{"user":"u", "event" : "MessageNew", "folder":"INBOX","imap-uid":1}`:            1,
		`{"user":"u","event":"messageNew","folder":"INBOX","imap-uid":14","snippet":""}`: 1,
		`{"user":"u","event":"messageRead","folder":"INBOX","imap-uid":1}`:               0,
		`{"user":"u","event":"mailboxCreate","folder":"F"}`:                              0,
	} {
		asked := 0
		target := &Target{
			URL:   &url.URL{Scheme: "http", Host: "middleware", Path: "/"},
			Proxy: func(w http.ResponseWriter, _ *http.Request) error { asked++; w.WriteHeader(http.StatusOK); return nil },
		}
		assert.Equal(t, delivery.Delivered, target.Deliver(t.Context(), &queue.Record{Body: []byte(body)}).Outcome, body)
		assert.Equal(t, want, asked, body)
	}
}

// Open-Xchange answers 200 to what it drops: users of another form are counted,
// once they were delivered.
func TestUnknownUsers(t *testing.T) {
	for user, unknown := range map[string]int{
		"3@1": 0, "12345@67": 0, "alice@example.com": 1, "alice": 1, "3@1.example.com": 1, "3": 1, "@1": 1, "-3@1": 1,
	} {
		status, counted := http.StatusServiceUnavailable, 0
		target := &Target{
			URL:         &url.URL{Scheme: "http", Host: "middleware", Path: "/"},
			Proxy:       func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(status); return nil },
			UnknownUser: func() { counted++ },
		}
		body := fmt.Appendf(nil, `{"user":%q,"event":"messageNew","folder":"INBOX","imap-uid":1}`, user)
		target.Deliver(t.Context(), &queue.Record{Body: body})
		assert.Zero(t, counted, user)
		status = http.StatusOK
		assert.Equal(t, delivery.Delivered, target.Deliver(t.Context(), &queue.Record{Body: body}).Outcome)
		assert.Equal(t, unknown, counted, user)
	}
}
