// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package fcm

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"regexp"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	mail "github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/sealed"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

const (
	// maxData is what FCM takes, in bytes: the data and the notification together.
	maxData = 4096
	// ofNotification is what a notification needs of it at most.
	ofNotification = 128
)

// Devices sends to apps that use FCM. It is a device.Sender.
type Devices struct {
	Client *http.Client
	// Endpoint is the origin of the service.
	Endpoint string
	Account  *Account
	// MailContent is how much of a mail devices get. Unless it is Sealed, Google can
	// read it.
	MailContent mail.Content
	// Sealed means that all messages are encrypted for the device.
	Sealed bool
	// Notification means that the system shows something while the app is not open.
	Notification bool
	// TTL is how long FCM keeps a mail for a device that is off.
	TTL time.Duration
}

// Kind implements device.Sender.
func (*Devices) Kind() subscription.Kind { return subscription.FCM }

// Content implements device.Sender.
func (s *Devices) Content() mail.Content { return s.MailContent }

// Service implements device.Sharing: all devices share the project.
func (*Devices) Service(d *subscription.Subscription) string { return d.App }

// registration is what registration tokens are made of.
var registration = regexp.MustCompile(`^[A-Za-z0-9_:.%~-]{20,}$`)

// CheckAddress implements device.Sender.
func (s *Devices) CheckAddress(_ context.Context, a *subscription.Address) error {
	if len(a.Token) > subscription.MaxToken || !registration.MatchString(a.Token) {
		return &subscription.FieldError{Field: "token", Problem: "must be the FCM registration token of the app"}
	}
	if a.App == "" {
		a.App = s.Account.Project
	}
	switch {
	case a.App != s.Account.Project:
		return &subscription.FieldError{Field: "app", Problem: "must be the Firebase project that this server delivers to"}
	case a.Environment != "":
		return &subscription.FieldError{Field: "environment", Problem: "has no meaning for FCM"}
	case s.Sealed && a.Keys.IsZero():
		return &subscription.FieldError{Field: "keys", Problem: "are required: messages are encrypted for the device"}
	}
	return nil
}

// SendMail implements device.Sender. A mail that needs no attention any more is told
// to the app alone, and without waking the phone up.
func (s *Devices) SendMail(ctx context.Context, d *subscription.Subscription, m mail.Mail) delivery.Result {
	a := android{Priority: "HIGH", TTL: seconds(s.TTL)}
	if d.Preferences.Urgency == subscription.Normal {
		a.Priority = "NORMAL"
	}
	if m.Event.Withdraws() {
		a.Priority = "NORMAL" // and it stands for no other one
	} else {
		a.CollapseKey = device.Topic(d, m.Folder)
		s.notify(&a, "new_mail", a.CollapseKey)
	}
	return device.SendMail(m, s.room(a), device.EncodeMail, func(payload []byte) (delivery.Result, bool) {
		return s.wrapAndSend(ctx, d, a, payload), false
	})
}

// SendSummary implements device.Sender.
func (s *Devices) SendSummary(ctx context.Context, d *subscription.Subscription, summary mail.Summary) delivery.Result {
	payload, err := device.Encode(summary)
	if err != nil {
		return delivery.Result{Reason: "encoding", Fault: delivery.FaultOfOurs, Err: err}
	}
	a := android{Priority: "HIGH", TTL: seconds(s.TTL), CollapseKey: device.Topic(d, device.SummaryTopic)}
	if summary.Count == 0 || d.Preferences.Urgency == subscription.Normal {
		a.Priority = "NORMAL"
	}
	if summary.Count > 0 {
		s.notify(&a, "new_mail", a.CollapseKey)
	}
	return s.wrapAndSend(ctx, d, a, payload)
}

// SendCode implements device.Sender.
func (s *Devices) SendCode(ctx context.Context, d *subscription.Subscription) delivery.Result {
	payload, err := device.Code(d)
	if err != nil {
		return delivery.Result{Reason: "encoding", Fault: delivery.FaultOfOurs, Err: err}
	}
	return s.wrapAndSend(ctx, d, android{Priority: "HIGH", TTL: seconds(subscription.UnconfirmedLifetime)}, payload)
}

// SendTest implements device.Sender.
func (s *Devices) SendTest(ctx context.Context, d *subscription.Subscription) delivery.Result {
	payload, err := device.Test()
	if err != nil {
		return delivery.Result{Reason: "encoding", Fault: delivery.FaultOfOurs, Err: err}
	}
	a := android{Priority: "HIGH", TTL: seconds(device.TestLifetime)}
	s.notify(&a, "test_message", "")
	return s.wrapAndSend(ctx, d, a, payload)
}

// Probe lets FCM look at a message for a device that does not exist. That the token
// of the device is the only thing that it complains about is the good answer.
func (s *Devices) Probe(ctx context.Context) delivery.Result {
	r := s.send(ctx, request{ValidateOnly: true, Message: message{Token: "nobody", Android: android{Priority: "NORMAL", TTL: seconds(0)}}})
	if r.Outcome == delivery.Gone {
		return delivery.Result{Outcome: delivery.Delivered}
	}
	return r
}

func (s *Devices) notify(a *android, text, tag string) {
	if s.Notification {
		a.Notification = &notification{BodyLocKey: text, Tag: tag}
	}
}

// The member of the data that holds a message.
const asText, asSeal = "message", "sealed"

// room is how long a message may be beside what else FCM counts.
func (s *Devices) room(a android) int {
	room := maxData
	if a.Notification != nil {
		room -= ofNotification
	}
	if !s.Sealed {
		return room - len(asText)
	}
	return min(base64.RawURLEncoding.DecodedLen(room-len(asSeal))-sealed.Overhead, sealed.MaxPlaintext)
}

var (
	errProject = errors.New("the device is of another Firebase project than that of this server")
	errNoKeys  = errors.New("the device has no keys that messages could be encrypted with, and has to be added again")
)

// wrapAndSend sends a message in the envelope that FCM wants.
func (s *Devices) wrapAndSend(ctx context.Context, d *subscription.Subscription, a android, payload []byte) delivery.Result {
	switch {
	case d.App != s.Account.Project:
		return delivery.Result{Outcome: delivery.Misconfigured, Reason: "project_unknown", Fault: delivery.FaultOfService, Err: errProject}
	case s.Sealed && d.Keys.IsZero():
		return delivery.Result{Outcome: delivery.Misconfigured, Reason: "no_keys", Fault: delivery.FaultOfItem, Err: errNoKeys}
	}
	data := map[string]string{asText: string(payload)}
	if s.Sealed {
		seal, err := sealed.Seal(payload, d.Keys.P256DH, d.Keys.Auth)
		if err != nil {
			return delivery.Result{Outcome: delivery.Refused, Reason: "encryption", Err: err}
		}
		data = map[string]string{asSeal: base64.RawURLEncoding.EncodeToString(seal)}
	}
	return s.send(ctx, request{Message: message{Token: d.Token, Data: data, Android: a}})
}
