// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscriptions

import (
	"encoding/json"
	"net/http"

	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func (h *Handler) change(w http.ResponseWriter, r *http.Request, user string) error {
	var body patch
	if err := read(w, r, &body); err != nil {
		return err
	}
	changes, err := h.changes(r, user, r.PathValue("id"), &body)
	if err != nil {
		return err
	}
	var device subscription.Subscription
	for _, c := range changes {
		if device, err = c.make(); err != nil {
			return err
		}
		h.Observe(c.event)
	}
	answer(w, http.StatusOK, h.view(&device))
	return nil
}

// change is one of the things that a PATCH asks for.
type change struct {
	event Event
	make  func() (subscription.Subscription, error)
}

func (h *Handler) changes(r *http.Request, user, id string, body *patch) ([]change, error) {
	ctx := r.Context()
	var all []change
	if body.Endpoint != "" || body.Token != "" {
		known, err := h.Store.Find(user, id)
		if err != nil {
			return nil, err
		}
		to, err := h.address(r, known.Kind, &body.addressBody)
		if err != nil {
			return nil, err
		}
		all = append(all, change{Renewed, func() (subscription.Subscription, error) {
			if err := h.mayHaveSent(user); err != nil {
				return subscription.Subscription{}, err
			}
			device, err := h.Store.Renew(ctx, user, id, to)
			if err != nil {
				return device, err
			}
			return h.askForCode(ctx, user, device)
		}})
	}
	if body.VerificationCode != nil {
		all = append(all, change{Confirmed, func() (subscription.Subscription, error) {
			if err := h.mayChange(user); err != nil {
				return subscription.Subscription{}, err
			}
			return h.Store.Confirm(ctx, user, id, *body.VerificationCode)
		}})
	}
	if body.Name != nil {
		all = append(all, change{Renamed, func() (subscription.Subscription, error) {
			if err := h.mayChange(user); err != nil {
				return subscription.Subscription{}, err
			}
			return h.Store.Rename(ctx, user, id, *body.Name)
		}})
	}
	if body.Preferences != nil {
		known, err := h.Store.Find(user, id)
		if err != nil {
			return nil, err
		}
		edit := h.prefer(known.Kind, body.Preferences)
		if _, err := edit(known.Preferences); err != nil {
			return nil, err
		}
		all = append(all, change{Preferred, func() (subscription.Subscription, error) {
			if err := h.mayChange(user); err != nil {
				return subscription.Subscription{}, err
			}
			return h.Store.Prefer(ctx, user, id, edit)
		}})
	}
	if len(all) == 0 {
		return nil, badRequest("", "There is nothing to change: give a name, a verificationCode, preferences, endpoint and keys, or a token.")
	}
	return all, nil
}

// prefer returns what changes the preferences of a device of a kind as a request
// asks for; nil if it does not.
func (h *Handler) prefer(kind subscription.Kind, patch json.RawMessage) func(subscription.Preferences) (subscription.Preferences, error) {
	if patch == nil {
		return nil
	}
	return func(before subscription.Preferences) (subscription.Preferences, error) {
		p, err := before.Merge(patch)
		if err != nil || p.Content == "" || p.Content == before.Content {
			return p, err
		}
		if sender := h.sender(kind); sender != nil && p.Content.AtMost(sender.Content()) != p.Content {
			return p, &subscription.FieldError{Field: "preferences.content", Problem: "must not be more than " + string(sender.Content()) + " on this server"}
		}
		return p, nil
	}
}
