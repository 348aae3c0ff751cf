// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package apns

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/sealed"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// maxPayload is what APNs takes, in bytes.
const maxPayload = 4096

// A device token has 32 bytes. Apple says that it may become longer.
const (
	minToken = 32
	maxToken = 100
)

// Devices sends to apps on Apple's devices. It is a device.Sender.
type Devices struct {
	// Client makes the requests, with HTTP/2.
	Client *http.Client
	// Production and Sandbox are the origins of the service.
	Production, Sandbox string
	Provider            *Provider
	// Topics are the bundle identifiers of the apps.
	Topics []string
	// MailContent is how much of a mail devices get. Unless it is Sealed, Apple
	// can read it.
	MailContent notification.Content
	// Sealed means that all messages are encrypted for the device.
	Sealed bool
	// TTL is how long APNs keeps a mail for a device that is off.
	TTL time.Duration
}

// Kind implements device.Sender.
func (*Devices) Kind() subscription.Kind { return subscription.APNs }

// Content implements device.Sender.
func (s *Devices) Content() notification.Content { return s.MailContent }

// Service implements device.Sharing: what is wrong with one app, or with one
// environment, says nothing about the others.
func (*Devices) Service(d *subscription.Subscription) string {
	return strings.TrimSpace(d.App + " " + d.Environment)
}

// CheckAddress implements device.Sender.
func (s *Devices) CheckAddress(_ context.Context, a *subscription.Address) error {
	token, err := hex.DecodeString(a.Token)
	if err != nil || len(token) < minToken || len(token) > maxToken {
		return &subscription.FieldError{Field: "token", Problem: "must be the device token of the app, in hexadecimal"}
	}
	a.Token = hex.EncodeToString(token) // one spelling
	if a.App == "" && len(s.Topics) == 1 {
		a.App = s.Topics[0]
	}
	if !slices.Contains(s.Topics, a.App) {
		return &subscription.FieldError{Field: "app", Problem: "must be the bundle identifier of an app that this server delivers to"}
	}
	switch a.Environment {
	case "", sandbox:
	case "production":
		a.Environment = ""
	default:
		return &subscription.FieldError{Field: "environment", Problem: "must be production or sandbox"}
	}
	if s.Sealed && a.Keys.IsZero() {
		return &subscription.FieldError{Field: "keys", Problem: "are required: messages are encrypted for the device"}
	}
	return nil
}

// What the app is given beside the message. The texts of alerts are those of the
// app: it has them in the language of its user, and its extension may replace them.
const (
	alertMail  = `{"aps":{"alert":{"loc-key":"NEW_MAIL"},"sound":"default","mutable-content":1},`
	silentMail = `{"aps":{"alert":{"loc-key":"NEW_MAIL"},"interruption-level":"passive","mutable-content":1},`
	alertTest  = `{"aps":{"alert":{"loc-key":"TEST_MESSAGE"},"mutable-content":1},`
	background = `{"aps":{"content-available":1},`

	asText = `"message":`
	asSeal = `"sealed":`
)

// SendMail implements device.Sender. A mail that needs no attention any more is told
// to the app alone.
func (s *Devices) SendMail(ctx context.Context, d *subscription.Subscription, m notification.Mail) delivery.Result {
	aps, about := alertMail, m.Folder
	message := message{ttl: s.TTL}
	if d.Preferences.Urgency == subscription.Normal {
		aps, message.normal = silentMail, true
	}
	if m.Event.Withdraws() { // it stands for no other one
		aps, about, message.background = background, fmt.Sprintf("%s\x00%d", m.Folder, m.UID), true
	}
	message.collapse = device.Topic(d, about)
	return device.SendMail(m, s.room(aps), device.EncodeMail, func(payload []byte) (delivery.Result, bool) {
		result := s.wrapAndSend(ctx, d, message, aps, payload)
		return result, result.Reason == reasonTooLong
	})
}

// SendSummary implements device.Sender. The alert is that of a new mail, which every
// app has a text for.
func (s *Devices) SendSummary(ctx context.Context, d *subscription.Subscription, summary notification.Summary) delivery.Result {
	payload, err := device.Encode(summary)
	if err != nil {
		return delivery.Result{Reason: "encoding", Fault: delivery.FaultOfOurs, Err: err}
	}
	aps, m := alertMail, message{ttl: s.TTL, collapse: device.Topic(d, device.SummaryTopic)}
	switch {
	case summary.Count == 0:
		aps, m.background = background, true
	case d.Preferences.Urgency == subscription.Normal:
		aps, m.normal = silentMail, true
	}
	return s.wrapAndSend(ctx, d, m, aps, payload)
}

// SendCode implements device.Sender.
func (s *Devices) SendCode(ctx context.Context, d *subscription.Subscription) delivery.Result {
	payload, err := device.Code(d)
	if err != nil {
		return delivery.Result{Reason: "encoding", Fault: delivery.FaultOfOurs, Err: err}
	}
	return s.wrapAndSend(ctx, d, message{background: true, ttl: subscription.UnconfirmedLifetime}, background, payload)
}

// SendTest implements device.Sender.
func (s *Devices) SendTest(ctx context.Context, d *subscription.Subscription) delivery.Result {
	payload, err := device.Test()
	if err != nil {
		return delivery.Result{Reason: "encoding", Fault: delivery.FaultOfOurs, Err: err}
	}
	return s.wrapAndSend(ctx, d, message{ttl: device.TestLifetime}, alertTest, payload)
}

// nobody is a token that no device has.
var nobody = strings.Repeat("00", minToken)

// Probe sends a message of each app to a device that does not exist. That the token
// of the device is the only thing that APNs complains about is the good answer.
func (s *Devices) Probe(ctx context.Context) delivery.Result {
	for _, topic := range s.Topics {
		r := s.send(ctx, &subscription.Subscription{Token: nobody, App: topic}, message{payload: []byte(background + `"message":{}}`), background: true})
		if r.Outcome != delivery.Gone && r.Outcome != delivery.Delivered {
			r.Err = fmt.Errorf("%s: %w", topic, r.Err)
			return r
		}
	}
	return delivery.Result{Outcome: delivery.Delivered}
}

// room is how long a message may be beside what else is in the payload.
func (s *Devices) room(aps string) int {
	if !s.Sealed {
		return maxPayload - len(aps) - len(asText) - len("}")
	}
	seal := base64.RawURLEncoding.DecodedLen(maxPayload - len(aps) - len(asSeal) - len(`""}`))
	return seal - sealed.Overhead
}

var (
	errTopic  = errors.New("the app of the device is none of the topics of this server (any more)")
	errNoKeys = errors.New("the device has no keys that messages could be encrypted with, and has to be added again")
)

// wrapAndSend sends a message in the envelope that APNs wants.
func (s *Devices) wrapAndSend(ctx context.Context, d *subscription.Subscription, m message, aps string, payload []byte) delivery.Result {
	switch {
	case !slices.Contains(s.Topics, d.App):
		return delivery.Result{Outcome: delivery.Misconfigured, Reason: "topic_unknown", Fault: delivery.FaultOfService, Err: errTopic}
	case s.Sealed && d.Keys.IsZero():
		return delivery.Result{Outcome: delivery.Misconfigured, Reason: "no_keys", Fault: delivery.FaultOfItem, Err: errNoKeys}
	}
	m.payload = append(make([]byte, 0, maxPayload), aps...)
	if !s.Sealed {
		m.payload = append(append(m.payload, asText...), payload...)
		m.payload = append(m.payload, '}')
		return s.send(ctx, d, m)
	}
	seal, err := sealed.Seal(payload, d.Keys.P256DH, d.Keys.Auth)
	if err != nil {
		return delivery.Result{Outcome: delivery.Refused, Reason: "encryption", Err: err}
	}
	m.payload = append(append(m.payload, asSeal...), '"')
	m.payload = base64.RawURLEncoding.AppendEncode(m.payload, seal)
	m.payload = append(m.payload, `"}`...)
	return s.send(ctx, d, m)
}
