// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package device

import (
	"context"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// hold keeps a notification for the summary of a device that is quiet or muted.
func (t *Target) hold(d *subscription.Subscription, r *queue.Record, done func(error)) {
	n, err := t.Decoder.Decode(r.Body)
	if err != nil { // it was decoded when it was taken in
		done(nil)
		return
	}
	limited := n.Limit(t.content(d))
	t.Subscriptions.Hold(n.User, d.ID, subscription.Silenced{
		Event: n.Event, Mail: subscription.NewHeldMail(n, limited.From), Unseen: n.Unseen,
	}, done)
}

// summarized are the destinations of a notification that is a summary: the device
// that it is for, unless there is nothing to say any more. What is held stays with
// the device while it is silenced again.
func (t *Target) summarized(user string, devices []subscription.Subscription, r *queue.Record) []delivery.Destination {
	for i := range devices {
		d := &devices[i]
		if d.ID != r.Destination || !d.Is(t.Sender.Kind()) || !d.Wanted() || d.Held == nil {
			continue
		}
		to := delivery.Destination{Key: d.ID, Silenced: d.Preferences.Silent(time.Now())}
		if to.Silenced != "" {
			to.Hold = func(done func(error)) { done(t.Subscriptions.Unclaim(context.Background(), user, d.ID)) }
		}
		if d.Confirmed() {
			to.Service = t.service(d)
		}
		return []delivery.Destination{to}
	}
	return nil
}

// summarize sends a device the summary of what is held for it.
func (t *Target) summarize(ctx context.Context, user string, d *subscription.Subscription, r *queue.Record) delivery.Result {
	held := d.Held
	if held == nil || d.Preferences.Silent(time.Now()) != "" {
		return delivery.Result{Outcome: delivery.Delivered} // it was sent, or the next one has it
	}
	s := notification.Summary{
		Type: "Summary", ID: r.ID.String(), Count: len(held.Mails), More: held.More, Unseen: held.Unseen,
		Time: time.Now().UTC().Truncate(time.Second),
	}
	if s.Count == 0 {
		s.More = false
	}
	if t.content(d) != notification.Thin { // it may have become less meanwhile
		s.From, s.Others = held.Senders(notification.MaxSummaryNames)
	}
	result := t.Sender.SendSummary(ctx, d, s)
	if result.Outcome != delivery.Delivered && result.Outcome != delivery.Refused {
		return t.keep(ctx, user, d, result)
	}
	// If this fails, the device is notified again some time: it replaces the summary.
	_ = t.Subscriptions.Summarized(context.WithoutCancel(ctx), user, d.ID, held, resultOf(result))
	return result
}
