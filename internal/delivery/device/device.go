// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package device delivers to the devices of users, of whatever kind. It finds the
// devices of the user of a notification, leaves out those whose preferences do not
// want it, asks a [Sender] to send to each of the others, and keeps the result. A
// sender knows one kind of devices and nothing of where they are kept.
//
// What a device does not want is done for it. What its quiet hours or a mute hold back
// is counted with the device instead of being parked, and [Summaries] have one summary
// sent when they are over: parked mails of everybody's nights could fill the queue.
package device

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

// Sender sends messages to devices of one kind. It is safe for concurrent use.
//
// A result of Gone removes the device; a fault of one device is a fault of the
// item ([delivery.FaultOfItem]), not of what devices share.
type Sender interface {
	// Kind is the kind of the devices.
	Kind() subscription.Kind
	// Content is how much of a mail they get.
	Content() notification.Content
	// CheckAddress reports whether there can be a device at an address that a
	// user gives, as a [*subscription.FieldError], and completes the address. It
	// is called before the address is kept.
	CheckAddress(ctx context.Context, a *subscription.Address) error
	// SendMail makes one attempt to send a mail to a device that is confirmed.
	SendMail(ctx context.Context, d *subscription.Subscription, m notification.Mail) delivery.Result
	// SendSummary makes one attempt to send a summary to a device that is confirmed.
	// One without mails only says how many are unseen: no sound, and nothing is
	// woken up.
	SendSummary(ctx context.Context, d *subscription.Subscription, s notification.Summary) delivery.Result
	// SendCode sends the VerificationCode of a device, and nothing else: that the
	// device gives it back is the proof that it is there. It may set the ServerKey
	// to another one that the device turns out to be made with.
	SendCode(ctx context.Context, d *subscription.Subscription) delivery.Result
	// SendTest sends a message that says nothing but that it has arrived.
	SendTest(ctx context.Context, d *subscription.Subscription) delivery.Result
}

// Sharing is a [Sender] whose devices share more than the host of their endpoint.
type Sharing interface {
	// Service is what a device shares with others and fails together with them,
	// see [delivery.Destination]. It is no secret.
	Service(d *subscription.Subscription) string
}

// Target is the devices of one kind of all users.
type Target struct {
	Sender        Sender
	Subscriptions *subscription.Store
	Decoder       *notification.Decoder
	// Actions, if set, returns what a device may do with a mail.
	Actions func(ctx context.Context, user string, d *subscription.Subscription, m *notification.Mail) *notification.Actions
}

// Destinations returns the devices of the user of a notification. They are
// notified of new mails, and of those that no longer need attention. What their
// preferences leave out is silenced: it takes no attempt.
func (t *Target) Destinations(ctx context.Context, r *queue.Record) ([]delivery.Destination, error) {
	n, from, err := t.Decoder.IdentifyFrom(r.Body)
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
	kind := t.Sender.Kind()
	if r.Source == notification.Silence {
		return t.summarized(n.User, devices, r), nil
	}
	var destinations []delivery.Destination
	for i := range devices {
		d := &devices[i]
		if !d.Is(kind) || !d.Wanted() {
			continue
		}
		to := delivery.Destination{Key: d.ID, Silenced: d.Preferences.Silenced(n.Event, n.Folder, from, time.Now())}
		if to.Silenced == subscription.Muted || to.Silenced == subscription.Quiet {
			to.Hold = func(done func(error)) { t.hold(d, r, done) }
		}
		if to.Silenced == "" && d.Confirmed() { // otherwise its push service is not to blame
			to.Service = t.service(d)
		}
		destinations = append(destinations, to)
	}
	return destinations, nil
}

func (t *Target) service(d *subscription.Subscription) string {
	if s, ok := t.Sender.(Sharing); ok {
		return s.Service(d)
	}
	return d.Host()
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
	if r.Source == notification.Silence {
		return t.summarize(ctx, n.User, &d, r)
	}
	m := n.Mail(t.content(&d), r.ID, r.Accepted, r.Source)
	if t.Actions != nil {
		m.Actions = t.Actions(ctx, n.User, &d, &m)
	}
	return t.keep(ctx, n.User, &d, t.Sender.SendMail(ctx, &d, m))
}

var errUnconfirmed = errors.New("the device has not confirmed its new address yet")

// content is how much of a mail the device gets.
func (t *Target) content(d *subscription.Subscription) notification.Content {
	return d.Preferences.Content.AtMost(t.Sender.Content())
}

// keep stores the result of a message. A device that is gone is removed.
func (t *Target) keep(ctx context.Context, user string, d *subscription.Subscription, r delivery.Result) delivery.Result {
	if r.Outcome != delivery.Gone {
		t.Subscriptions.Used(user, d.ID, resultOf(r))
		return r
	}
	// The answer of the push service counts, even if our attempt is cancelled.
	err := t.Subscriptions.RemoveGone(context.WithoutCancel(ctx), user, d)
	if err != nil { // it has moved meanwhile, or the next attempt hears the same
		return delivery.Result{Reason: "subscriptions", Fault: delivery.FaultOfOurs, Err: err}
	}
	return r
}

func resultOf(r delivery.Result) subscription.Delivery {
	return subscription.Delivery{Time: time.Now(), Outcome: r.Outcome.String()}
}
