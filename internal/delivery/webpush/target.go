// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// Target is the devices of all users.
type Target struct {
	Sender        *Sender
	Subscriptions *subscription.Store
	Decoder       *notification.Decoder
	// Content is how much of a mail is sent to devices.
	Content notification.Content
	// TTL is how long push services keep a message.
	TTL time.Duration
}

// Destinations returns the devices of the user of a notification. They are
// notified of new mails, and of those that no longer need attention.
func (t *Target) Destinations(ctx context.Context, r *queue.Record) ([]delivery.Destination, error) {
	n, err := notification.Identify(r.Body, t.Decoder.Events)
	if err != nil { // it could be read when it was taken in
		return nil, fmt.Errorf("%w: %w", delivery.ErrRefused, err)
	}
	if n.Event != notification.MessageNew && !n.Event.Withdraws() {
		return nil, nil
	}
	if err := t.Subscriptions.Wait(ctx); err != nil {
		return nil, err
	}
	devices, err := t.Subscriptions.Of(n.User)
	if err != nil {
		return nil, err
	}
	var destinations []delivery.Destination
	for i := range devices {
		if d := &devices[i]; d.Confirmed() {
			destinations = append(destinations, delivery.Destination{Key: d.ID, Service: d.Host()})
		} else if d.Wanted() {
			destinations = append(destinations, delivery.Destination{Key: d.ID}) // its push service is not to blame
		}
	}
	return destinations, nil
}

// Deliver sends the notification to the device that is its destination.
func (t *Target) Deliver(ctx context.Context, r *queue.Record) delivery.Result {
	n, err := t.Decoder.Decode(r.Body)
	if err != nil { // it was decoded when it was taken in
		return delivery.Result{Outcome: delivery.Refused, Reason: "decode", Err: err}
	}
	d, err := t.Subscriptions.Find(n.User, r.Destination)
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return delivery.Result{Outcome: delivery.Gone, Reason: "unsubscribed"}
	case err != nil:
		return delivery.Result{Reason: "subscriptions", Fault: delivery.FaultOfOurs, Err: err}
	case !d.Confirmed(): // it moved since, and has to prove that it is there
		return delivery.Result{Reason: "unconfirmed", Fault: delivery.FaultOfOurs, Err: errUnconfirmed}
	}
	message := Message{TTL: t.TTL, Topic: topic(&d, n.Folder)}
	if n.Event.Withdraws() {
		// It can wait until the phone is awake, and stands for no other one.
		message.Low, message.Topic = true, topic(&d, fmt.Sprintf("%s\x00%d", n.Folder, n.UID))
	}
	return t.note(ctx, n.User, &d, t.sendMail(ctx, &d, n.Mail(t.Content, r.ID, r.Accepted), message))
}

// sendMail sends as much of a mail as the push service accepts: all must accept
// [MaxBody], but some accept less.
func (t *Target) sendMail(ctx context.Context, d *subscription.Subscription, m notification.Mail, message Message) delivery.Result {
	result := delivery.Result{Outcome: delivery.Refused, Reason: "too_long", Err: errTooLong}
	for most := MaxPlaintext; ; most = len(message.Payload) - 1 {
		payload, err := mail(m, most)
		if err != nil { // nothing is left to be left out
			return result
		}
		message.Payload = payload
		if result = t.Sender.Send(ctx, d, message); result.Reason != reasonTooLong {
			return result
		}
	}
}

var errUnconfirmed = errors.New("the device has not confirmed its new address yet")

// note stores the result of a message. A device that is gone is removed.
func (t *Target) note(ctx context.Context, user string, d *subscription.Subscription, r delivery.Result) delivery.Result {
	if r.Outcome != delivery.Gone {
		t.Subscriptions.Used(user, d.ID, subscription.Delivery{Time: time.Now(), Outcome: r.Outcome.String()})
		return r
	}
	// The answer of the push service counts, even if our attempt is cancelled.
	err := t.Subscriptions.RemoveGone(context.WithoutCancel(ctx), user, d.ID, d.Endpoint)
	if err != nil { // it has moved meanwhile, or the next attempt hears the same
		return delivery.Result{Reason: "subscriptions", Fault: delivery.FaultOfOurs, Err: err}
	}
	return r
}
