// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// mail returns the payload of a notification. If it would be longer than most
// bytes, members are left out, the least important first.
func mail(m notification.Mail, most int) ([]byte, error) {
	for _, leaveOut := range []*string{nil, &m.Snippet, &m.From, &m.Subject} {
		if leaveOut != nil {
			*leaveOut = ""
		}
		payload, err := encode(m)
		if err != nil || len(payload) <= most {
			return payload, err
		}
	}
	return nil, errTooLong
}

// encode writes JSON without escapes for HTML, which would take space.
func encode(value any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// verification is the message that asks a device for the code of its
// subscription (RFC 8620, section 7.2.2).
func verification(d *subscription.Subscription) (Message, error) {
	payload, err := encode(struct {
		Type string `json:"@type"`
		ID   string `json:"pushSubscriptionId"`
		Code string `json:"verificationCode"`
	}{"PushVerification", d.ID, d.VerificationCode})
	return Message{Payload: payload, TTL: subscription.UnconfirmedLifetime}, err
}

// testLife is how long a test message may take to arrive.
const testLife = time.Minute

// test is a message that only shows that messages arrive.
func test(id string, at time.Time) (Message, error) {
	payload, err := encode(struct {
		Type string    `json:"@type"`
		ID   string    `json:"id"`
		Time time.Time `json:"time"`
	}{"Test", id, at.UTC().Truncate(time.Second)})
	return Message{Payload: payload, TTL: testLife}, err
}

// topic makes newer messages of a folder replace those that wait for a device.
// Push services can neither guess the folder from it nor see which devices
// belong to the same user.
func topic(d *subscription.Subscription, folder string) string {
	mac := hmac.New(sha256.New, d.Keys.Auth)
	mac.Write([]byte("topic\x00" + folder))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}
