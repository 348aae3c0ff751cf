// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package device

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func TestOtherMessages(t *testing.T) {
	code, err := Code(&subscription.Subscription{ID: "42", VerificationCode: "secret code"})
	require.NoError(t, err)
	assert.JSONEq(t, `{"@type":"PushVerification","pushSubscriptionId":"42","verificationCode":"secret code"}`, string(code))
	text, err := Test()
	require.NoError(t, err)
	var test struct {
		Type string `json:"@type"`
		ID   string
		Time time.Time
	}
	require.NoError(t, json.Unmarshal(text, &test))
	assert.Equal(t, "Test", test.Type)
	assert.NotEmpty(t, test.ID)
	assert.WithinDuration(t, time.Now(), test.Time, time.Minute)
}

// A receiver that finds a message too long gets shorter ones, in whole members,
// until nothing is left that could be left out.
func TestShorterAndShorter(t *testing.T) {
	m := notification.Mail{Folder: "INBOX", From: "bob", Subject: "lunch", Snippet: "<hello>"}
	var sent []notification.Mail
	result := SendMail(m, 4096, EncodeMail, func(payload []byte) (delivery.Result, bool) {
		var mail notification.Mail
		require.NoError(t, json.Unmarshal(payload, &mail))
		sent = append(sent, mail)
		return delivery.Result{Outcome: delivery.Refused, Reason: "status_413"}, true
	})
	assert.Equal(t, "status_413", result.Reason)
	require.Len(t, sent, 4)
	assert.Equal(t, m, sent[0])
	assert.Equal(t, []string{"bob", "lunch", ""}, []string{sent[1].From, sent[1].Subject, sent[1].Snippet})
	assert.Equal(t, []string{"", "lunch", ""}, []string{sent[2].From, sent[2].Subject, sent[2].Snippet})
	assert.Equal(t, []string{"", "", ""}, []string{sent[3].From, sent[3].Subject, sent[3].Snippet})

	m.Folder = strings.Repeat("f", 5000)
	result = SendMail(m, 4096, EncodeMail, func([]byte) (delivery.Result, bool) {
		assert.Fail(t, "it was sent")
		return delivery.Result{}, false
	})
	assert.Equal(t, delivery.Refused, result.Outcome)
	require.ErrorIs(t, result.Err, ErrTooLong)
}

// Nobody who sees topics can tell which devices are of one user.
func TestTopic(t *testing.T) {
	one := &subscription.Subscription{Keys: subscription.Keys{Auth: []byte("0123456789abcdef")}}
	other := &subscription.Subscription{Keys: subscription.Keys{Auth: []byte("fedcba9876543210")}}
	app := &subscription.Subscription{Token: "00ff"}
	assert.Regexp(t, `^[A-Za-z0-9_-]{22}$`, Topic(one, "INBOX"))
	for _, d := range []*subscription.Subscription{one, other, app} {
		assert.NotEqual(t, Topic(d, "INBOX"), Topic(d, "Lists"))
	}
	assert.NotEqual(t, Topic(one, "INBOX"), Topic(other, "INBOX"))
	assert.NotEqual(t, Topic(one, "INBOX"), Topic(app, "INBOX"))
}
