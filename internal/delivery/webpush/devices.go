// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/sealed"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// keysTried bounds the messages to an endpoint that refuses all of them.
const keysTried = 3

// Devices sends to the devices that speak Web Push. It is a device.Sender.
type Devices struct {
	Sender *Sender
	// Policy says which endpoints are taken.
	Policy *outbound.Policy
	// MailContent is how much of a mail devices get.
	MailContent notification.Content
	// TTL is how long push services keep a mail.
	TTL time.Duration
	// Texts are what notifications say where the browser shows them itself, by
	// language and key, as in the catalogues of the page. English must be one of
	// them.
	Texts map[string]map[string]string
}

// Kind implements device.Sender.
func (*Devices) Kind() subscription.Kind { return subscription.WebPush }

// Content implements device.Sender.
func (s *Devices) Content() notification.Content { return s.MailContent }

// CheckAddress implements device.Sender. The device is taken to have been given
// the newest key; see SendCode.
func (s *Devices) CheckAddress(ctx context.Context, a *subscription.Address) error {
	if err := s.Policy.Check(a.Endpoint); err != nil {
		return err
	}
	ring, err := s.Sender.keys(ctx)
	if err != nil {
		return err
	}
	if len(ring) == 0 {
		return errors.New("there is no VAPID key")
	}
	a.App, a.Environment, a.ServerKey = "", "", ring[0].Public()
	return nil
}

// SendMail implements device.Sender. It sends as much of a mail as the push service
// takes: all have to take [sealed.MaxBody], and some take less.
func (s *Devices) SendMail(ctx context.Context, d *subscription.Subscription, m notification.Mail) delivery.Result {
	message := Message{TTL: s.TTL, Topic: device.Topic(d, m.Folder), Urgency: d.Preferences.Urgency}
	if m.Event.Withdraws() {
		// It can wait until the phone is awake, and stands for no other one.
		message.Urgency, message.Topic = "low", device.Topic(d, fmt.Sprintf("%s\x00%d", m.Folder, m.UID))
	}
	return s.sendShortened(d, m, func(payload []byte) (delivery.Result, bool) {
		message.Payload = payload
		result := s.Sender.Send(ctx, d, message)
		return result, result.Reason == reasonTooLong
	})
}

func (s *Devices) sendShortened(d *subscription.Subscription, m notification.Mail, send func([]byte) (delivery.Result, bool)) delivery.Result {
	var result delivery.Result
	for _, encode := range s.encodings(d) {
		result = device.SendMail(m, sealed.MaxPlaintext, encode, send)
		if !errors.Is(result.Err, device.ErrTooLong) {
			break
		}
	}
	return result
}

// SendSummary implements device.Sender.
func (s *Devices) SendSummary(ctx context.Context, d *subscription.Subscription, summary notification.Summary) delivery.Result {
	payload, err := s.declareSummary(d, summary)
	if err != nil {
		return delivery.Result{Reason: "encoding", Fault: delivery.FaultOfOurs, Err: err}
	}
	message := Message{Payload: payload, TTL: s.TTL, Topic: device.Topic(d, device.SummaryTopic), Urgency: d.Preferences.Urgency}
	if summary.Count == 0 {
		message.Urgency = "low"
	}
	return s.Sender.Send(ctx, d, message)
}

// SendCode implements device.Sender.
//
// What browsers tell of a subscription does not say which key it was made
// with, and a page that was opened before a rotation has the one before. Push
// services refuse every other one, so the newest that is taken is the one.
func (s *Devices) SendCode(ctx context.Context, d *subscription.Subscription) delivery.Result {
	payload, err := device.Code(d)
	if err == nil {
		payload, err = s.declareNotice(d, "unconfirmed", payload)
	}
	if err != nil {
		return delivery.Result{Reason: "encoding", Fault: delivery.FaultOfOurs, Err: err}
	}
	ring, err := s.Sender.keys(ctx)
	if err != nil {
		return delivery.Result{Reason: "vapid_keys", Fault: delivery.FaultOfOurs, Err: err}
	}
	m := Message{Payload: payload, TTL: subscription.UnconfirmedLifetime}
	var result delivery.Result
	for _, key := range ring[:min(len(ring), keysTried)] {
		d.ServerKey = key.Public()
		if result = s.Sender.Send(ctx, d, m); result.Outcome != delivery.Misconfigured {
			break
		}
	}
	return result
}

// SendTest implements device.Sender.
func (s *Devices) SendTest(ctx context.Context, d *subscription.Subscription) delivery.Result {
	payload, err := device.Test()
	if err == nil {
		payload, err = s.declareNotice(d, "test", payload)
	}
	if err != nil {
		return delivery.Result{Reason: "encoding", Fault: delivery.FaultOfOurs, Err: err}
	}
	return s.Sender.Send(ctx, d, Message{Payload: payload, TTL: device.TestLifetime})
}
