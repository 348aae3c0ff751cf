// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscriptions

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webpush"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// keysTried bounds the messages to an endpoint that refuses all of them.
const keysTried = 3

// askForCode sends a device that is not confirmed its code. A device that
// cannot be reached and never could be is removed.
//
// What browsers tell of a subscription does not say which key it was made
// with, and a page that was opened before a rotation has the one before. Push
// services refuse every other one, so the newest that is taken is the one.
func (h *Handler) askForCode(ctx context.Context, user string, d subscription.Subscription) (subscription.Subscription, error) {
	if d.Confirmed() {
		return d, nil
	}
	m, err := webpush.Verification(&d)
	if err != nil {
		return d, err
	}
	ring, err := h.Keys(ctx)
	if err != nil {
		return d, err
	}
	given := d.ServerKey
	var result delivery.Result
	for _, key := range ring[:min(len(ring), keysTried)] {
		d.ServerKey = key.Public()
		if result = h.send(ctx, &d, m); result.Outcome != delivery.Misconfigured {
			break
		}
	}
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
	m, err := webpush.Test(rand.Text(), time.Now())
	if err != nil {
		return err
	}
	result := h.send(r.Context(), &d, m)
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

func (h *Handler) send(ctx context.Context, d *subscription.Subscription, m webpush.Message) delivery.Result {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return h.Sender.Send(ctx, d, m)
}

// forget removes a device, also if nobody waits for the answer any more.
func (h *Handler) forget(ctx context.Context, user string, d *subscription.Subscription) {
	err := h.Store.RemoveGone(context.WithoutCancel(ctx), user, d.ID, d.Endpoint)
	if err != nil && !errors.Is(err, subscription.ErrNotFound) {
		h.Logger.Warn("cannot remove a device that cannot be reached", "error", err)
	}
}
