// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscriptions

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// askForCode sends a device that is not confirmed its code. A device that
// cannot be reached and never could be is removed.
func (h *Handler) askForCode(ctx context.Context, user string, d subscription.Subscription) (subscription.Subscription, error) {
	if d.Confirmed() {
		return d, nil
	}
	given := d.ServerKey
	result := h.send(ctx, &d, device.Sender.SendCode)
	if result.Outcome == delivery.Delivered {
		if d.ServerKey != given {
			return h.Store.UseServerKey(ctx, user, d.ID, d.ServerKey)
		}
		return d, nil
	}
	if !d.Wanted() || result.Outcome == delivery.Gone {
		h.forget(ctx, user, &d)
	}
	return d, &notSentError{result}
}

// test sends a message that says nothing but that it has arrived.
func (h *Handler) test(w http.ResponseWriter, r *http.Request, user string) error {
	d, err := h.Store.Find(user, r.PathValue("id"))
	if err != nil {
		return err
	}
	if !d.Confirmed() {
		return errUnconfirmed
	}
	if err := h.mayHaveSent(user); err != nil {
		return err
	}
	result := h.send(r.Context(), &d, device.Sender.SendTest)
	switch result.Outcome {
	case delivery.Gone:
		h.forget(r.Context(), user, &d)
		return &notSentError{result}
	case delivery.Delivered:
		h.Observe(Tested)
		w.WriteHeader(http.StatusAccepted)
	default:
		err = &notSentError{result}
	}
	h.Store.Used(user, d.ID, subscription.Delivery{Time: time.Now(), Outcome: result.Outcome.String()})
	return err
}

// send sends a device what message says. Where nothing delivers to its kind any
// more, that is said.
func (h *Handler) send(ctx context.Context, d *subscription.Subscription,
	message func(device.Sender, context.Context, *subscription.Subscription) delivery.Result,
) delivery.Result {
	sender := h.sender(d.Kind)
	if sender == nil {
		return delivery.Result{Reason: "no_target", Fault: delivery.FaultOfOurs}
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return message(sender, ctx, d)
}

// forget removes a device, also if nobody waits for the answer any more.
func (h *Handler) forget(ctx context.Context, user string, d *subscription.Subscription) {
	err := h.Store.RemoveGone(context.WithoutCancel(ctx), user, d)
	if err != nil && !errors.Is(err, subscription.ErrNotFound) {
		h.Logger.Warn("cannot remove a device that cannot be reached", "error", err)
	}
}
