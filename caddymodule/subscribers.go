// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/internal/eventlog"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// desiredTimeout bounds how long it takes to store that a user is to be registered.
const desiredTimeout = 10 * time.Second

// targetApp is the app for one of its targets.
type targetApp struct {
	app    *App
	target target.Module
}

// SetSubscribed implements target.App.
func (t targetApp) SetSubscribed(ctx context.Context, user string, subscribed bool) error {
	return t.app.setSubscribed(ctx, user, subscribed, t.target)
}

// setSubscribed makes a user be registered, because of by, or no longer. One whom
// another one wants stays registered.
func (a *App) setSubscribed(ctx context.Context, user string, subscribed bool, by any) error {
	if !subscribed && a.subscribes(user, by) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, desiredTimeout)
	defer cancel()
	r, err := a.reconciler(ctx)
	switch {
	case errors.Is(err, errNoRegistration):
		return nil
	case err != nil:
		return err
	}
	return r.SetSubscribed(ctx, user, subscribed)
}

// devicesChanged is called when a user got the first device or lost the last.
func (a *App) devicesChanged(user string, anyDevice bool) {
	if err := a.setSubscribed(context.Background(), user, anyDevice, a.devices); err != nil {
		a.log.Error("the registration of a user cannot be asked for", zap.Error(err))
	}
}

// streamsChanged is called when a user has event streams, or has had none for an
// hour.
func (a *App) streamsChanged(ctx context.Context, user string, streaming bool) error {
	return a.setSubscribed(ctx, user, streaming, a.streams)
}

// knowsSubscribers reports whether this configuration knows of all who want
// mail. Where others share the store, they may have devices when this one has
// not.
func (a *App) knowsSubscribers() bool { return a.devices != nil || a.Queue.NATS == nil }

// subscriber is somebody for whom users are registered.
type subscriber interface {
	// Subscribes reports whether that is so for a user.
	Subscribes(user string) bool
}

// subscribes reports whether anybody but one wants the mails of a user.
func (a *App) subscribes(user string, but any) bool {
	var all []subscriber
	if a.devices != nil {
		all = append(all, a.devices)
	}
	for _, t := range a.targets {
		if s, ok := t.(subscriber); ok {
			all = append(all, s)
		}
	}
	return slices.ContainsFunc(all, func(s subscriber) bool { return s != but && s.Subscribes(user) })
}

// subscribers returns the users whose mails somebody wants: a device, an event
// stream, also one that was open a moment ago, or a target.
func (a *App) subscribers(ctx context.Context, q *queue.Queue) ([]string, error) {
	users, err := eventlog.Users(ctx, q)
	if err != nil {
		return nil, err
	}
	if a.devices != nil {
		more, err := a.devices.store.Users(ctx)
		if err != nil {
			return nil, err
		}
		users = append(users, more...)
	}
	for _, t := range a.targets {
		if s, ok := t.(target.Subscribed); ok {
			more, err := s.Subscribers(ctx)
			if err != nil {
				return nil, err
			}
			users = append(users, more...)
		}
	}
	return users, nil
}
