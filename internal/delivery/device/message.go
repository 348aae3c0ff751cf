// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package device

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// ErrTooLong means that even the shortest form of a mail is too long.
var ErrTooLong = errors.New("the message is longer than a push service takes")

// SendMail sends as much of a mail as its receiver takes: at most so many bytes, and
// less whenever send reports that a message was too long. [EncodeMail] is the encoding
// that all devices read.
func SendMail(m notification.Mail, most int, encode func(notification.Mail) ([]byte, error), send func(payload []byte) (r delivery.Result, tooLong bool)) delivery.Result {
	result := delivery.Result{Outcome: delivery.Refused, Reason: "too_long", Err: ErrTooLong}
	for {
		payload, err := fit(m, most, encode)
		if err != nil { // nothing is left to be left out
			return result
		}
		var tooLong bool
		if result, tooLong = send(payload); !tooLong {
			return result
		}
		most = len(payload) - 1
	}
}

// EncodeMail returns the JSON by which devices of every kind are notified of a mail.
func EncodeMail(m notification.Mail) ([]byte, error) { return Encode(m) }

// fit encodes a mail. If the result would be longer than most bytes, members are left
// out, the least important first. Errors: [ErrTooLong].
func fit(m notification.Mail, most int, encode func(notification.Mail) ([]byte, error)) ([]byte, error) {
	for _, leaveOut := range []func(){
		func() {}, func() { m.Snippet = "" }, func() { m.From = "" }, func() { m.Subject = "" }, func() { m.Actions = nil },
	} {
		leaveOut()
		payload, err := encode(m)
		if err != nil || len(payload) <= most {
			return payload, err
		}
	}
	return nil, ErrTooLong
}

// Encode writes JSON without escapes for HTML, which would take space.
func Encode(value any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// Code returns the JSON that asks a device for the code of its subscription (RFC
// 8620, section 7.2.2).
func Code(d *subscription.Subscription) ([]byte, error) {
	return Encode(struct {
		Type string `json:"@type"`
		ID   string `json:"pushSubscriptionId"`
		Code string `json:"verificationCode"`
	}{"PushVerification", d.ID, d.VerificationCode})
}

// TestLifetime is how long a test message may take to arrive.
const TestLifetime = time.Minute

// Test returns the JSON of a message that only shows that messages arrive.
func Test() ([]byte, error) {
	return Encode(struct {
		Type string    `json:"@type"`
		ID   string    `json:"id"`
		Time time.Time `json:"time"`
	}{"Test", rand.Text(), time.Now().UTC().Truncate(time.Second)})
}

// SummaryTopic is what the [Topic] of summaries is about: a later one replaces an
// earlier one, and no folder has this name.
const SummaryTopic = "\x00summary"

// Topic is the same for what may replace an older message of a device: 22 letters,
// digits, - and _. Services can neither guess the folder from it nor see which
// devices belong to the same user, if the device has keys.
func Topic(d *subscription.Subscription, about string) string {
	secret := d.Keys.Auth
	if len(secret) == 0 {
		secret = []byte(d.Token)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("topic\x00" + about))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}
