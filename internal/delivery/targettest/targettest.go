// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package targettest holds every target that speaks HTTP to the same
// promises: what it makes of each status code, of receivers that hang, break
// off, talk nonsense or never stop talking, and of TLS and DNS that fail.
//
// A [Kit] makes the target for an address; a receiver that
// misbehaves is at that address. Whatever is unknown is a passing failure.
package targettest

import (
	"context"
	"crypto/x509"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Kit is a kind of target under test.
type Kit struct {
	// New makes a target that delivers to url, http or https, and trusts ca to
	// sign the receiver's certificate; nil means the authorities of the
	// system. Whatever it opens ends with the test.
	New func(t *testing.T, url string, ca *x509.Certificate) delivery.Deliverer
	// Outcomes are those in which the target differs from what holds for
	// HTTP receivers in general, by status code.
	Outcomes map[int]delivery.Outcome
	// Secrets are words of which none may be in an error, beside Token and
	// those of the mail.
	Secrets []string
}

// Token is in the path of each URL. No error may hold it.
const Token = "t0ken-9f27" //nolint:gosec // opens nothing

// enough bounds what a target may take to end an attempt whose context has
// ended. It is a lot, for slow machines.
const enough = 20 * time.Second

// Record is a notification of a mail with secrets in it.
func Record() *queue.Record {
	body := `{"user":"alice@example.com","event":"messageNew","folder":"INBOX","imap-uidvalidity":1795452971,"imap-uid":7,` +
		`"from":"Bob <bob@secret.example>","subject":"Secret subject","snippet":"Secret snippet","unseen":3}`
	n, err := new(notification.Decoder).Decode([]byte(body))
	if err != nil {
		panic(err)
	}
	id, _ := n.Identity([]byte(body), "")
	return &queue.Record{ID: id, Accepted: time.UnixMilli(1795453000123), Body: []byte(body)}
}

// Run runs all tests of the kit.
func Run(t *testing.T, kit Kit) {
	t.Run("status", kit.statuses)
	t.Run("retry after", kit.retryAfter)
	t.Run("no answer", kit.noAnswers)
	t.Run("answers", kit.answers)
	t.Run("redirects", kit.redirects)
	t.Run("TLS", kit.tls)
	t.Run("connections", kit.connections)
}

// attempt makes one attempt that ctx bounds, and looks at what holds for the
// results of all of them.
func (kit Kit) attempt(t *testing.T, ctx context.Context, target delivery.Deliverer) delivery.Result {
	t.Helper()
	done := make(chan delivery.Result, 1)
	record := Record()
	go func() { done <- target.Deliver(ctx, record) }()
	var r delivery.Result
	select {
	case r = <-done:
	case <-time.After(enough):
		require.FailNow(t, "the attempt does not end")
	}
	require.Equal(t, Record(), record, "the record was changed")
	kit.sane(t, r)
	return r
}

var reasons = regexp.MustCompile(`^(status_[1-5]\d\d|[a-z][a-z_]{1,30})$`)

func (kit Kit) sane(t *testing.T, r delivery.Result) {
	t.Helper()
	if r.Outcome == delivery.Delivered {
		assert.Empty(t, r.Reason)
		assert.NoError(t, r.Err)
		return
	}
	assert.Regexp(t, reasons, r.Reason, "a reason is a metric label")
	if !assert.Error(t, r.Err, "an operator wants to know more") {
		return
	}
	for _, secret := range append(kit.Secrets, Token, "bob@", "ecret subject", "ecret snippet", "alice@") {
		assert.NotContains(t, strings.ToLower(r.Err.Error()), strings.ToLower(secret))
	}
}

// deliver makes an attempt at a receiver that does what serve says with each
// connection, after it has read a request.
func (kit Kit) deliver(t *testing.T, serve serveFunc) delivery.Result {
	t.Helper()
	return kit.deliverWithin(t, enough, serve)
}

func (kit Kit) deliverWithin(t *testing.T, limit time.Duration, serve serveFunc) delivery.Result {
	t.Helper()
	target := kit.New(t, "http://"+listen(t, serve)+"/"+Token, nil)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return kit.attempt(t, ctx, target)
}
