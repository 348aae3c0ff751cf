// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/eventlog"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// wishTimeout bounds how long a wish takes to be stored.
const wishTimeout = 10 * time.Second

// devicesChanged is called when a user gets the first device or loses the last.
func (a *App) devicesChanged(user string, anyDevice bool) {
	if !anyDevice && a.streams(user) {
		return
	}
	if err := a.wish(context.Background(), user, anyDevice); err != nil {
		a.log.Error("the registration of a user cannot be asked for", "error", err)
	}
}

// streamsChanged is called when a user has event streams, or has had none for
// an hour.
func (a *App) streamsChanged(ctx context.Context, user string, streaming bool) error {
	if !streaming && a.hasDevices(user) {
		return nil
	}
	return a.wish(ctx, user, streaming)
}

// wish lets a user be registered, or no longer.
func (a *App) wish(ctx context.Context, user string, wanted bool) error {
	ctx, cancel := context.WithTimeout(ctx, wishTimeout)
	defer cancel()
	r, err := a.reconciler(ctx)
	switch {
	case errors.Is(err, errNoRegistration):
		return nil
	case err != nil:
		return err
	}
	return r.SetSubscribed(ctx, user, wanted)
}

// knowsSubscribers reports whether this configuration knows of all who want
// mail. Where others share the store, they may have devices when this one has
// not.
func (a *App) knowsSubscribers() bool { return a.webpush() != nil || a.Queue.NATS == nil }

// subscribers returns those who have devices or event streams.
func (a *App) subscribers(ctx context.Context, q *queue.Queue) ([]string, error) {
	users, err := eventlog.Users(ctx, q)
	if err != nil {
		return nil, err
	}
	if w := a.webpush(); w != nil {
		more, err := w.store.Users(ctx)
		if err != nil {
			return nil, err
		}
		users = append(users, more...)
	}
	return users, nil
}

// streams reports whether a user has event streams.
func (a *App) streams(user string) bool {
	k := a.known()
	return k != nil && k.log.Wants(user)
}

// known is nil where there are no event streams, and before they have started.
func (a *App) known() *known {
	for _, t := range a.targets {
		if s, ok := t.(*streams); ok {
			select {
			case <-s.ready:
				return s.known
			default:
			}
		}
	}
	return nil
}

// hasDevices reports whether a user has devices. Where that cannot be told, the
// user counts as having some: who is registered in vain costs little.
func (a *App) hasDevices(user string) bool {
	w := a.webpush()
	if w == nil || w.store == nil {
		return false
	}
	devices, err := w.store.Of(user)
	return err != nil || len(devices) > 0
}
