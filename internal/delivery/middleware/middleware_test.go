// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package middleware

import (
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
