// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// devicesTimeout bounds how long a route waits for the devices and their keys.
const devicesTimeout = 10 * time.Second

var errNoDevices = errors.New("no target that delivers to devices is configured, such as deliver webpush, so there are no devices")

// subscriptionsOf waits for the devices to be known, and returns whose are
// asked about.
func (a *App) subscriptionsOf(r *http.Request) (store *subscription.Store, user string, err error) {
	if a.devices == nil {
		return nil, "", caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errNoDevices}
	}
	if user, err = a.names.Canonical(r.Context(), r.URL.Query().Get("user")); err != nil {
		return nil, "", badRequest("the parameter user: %w", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), devicesTimeout)
	defer cancel()
	err = a.devices.wait(ctx)
	return a.devices.store, user, subscriptionError(err)
}

func getSubscriptions(a *App, r *http.Request) (any, error) {
	store, user, err := a.subscriptionsOf(r)
	if err != nil {
		return nil, err
	}
	devices, err := store.List(user)
	if err != nil {
		return nil, subscriptionError(err)
	}
	answer := adminapi.Subscriptions{User: user, Subscriptions: make([]adminapi.Subscription, len(devices))}
	for i := range devices {
		answer.Subscriptions[i] = newSubscription(&devices[i])
	}
	return answer, nil
}

func newSubscription(d *subscription.Subscription) adminapi.Subscription {
	s := adminapi.Subscription{
		ID: d.ID, Name: d.Name, Kind: d.Kind.Name(), PushService: d.Host(), App: d.App, Environment: d.Environment,
		Confirmed: d.Confirmed(), Created: d.Created, Expires: d.Expires,
		Preferences: d.Preferences.Names(time.Now()),
	}
	if d.Last != nil {
		s.LastDelivery = &adminapi.LastDelivery{Time: d.Last.Time, Outcome: d.Last.Outcome}
	}
	return s
}

func deleteSubscription(a *App, r *http.Request) (any, error) {
	store, user, err := a.subscriptionsOf(r)
	if err != nil {
		return nil, err
	}
	return nil, subscriptionError(store.Remove(r.Context(), user, r.PathValue("id")))
}

// subscriptionError gives an error its status.
func subscriptionError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, subscription.ErrNotFound):
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("the user has no device with this ID")}
	default:
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
}
