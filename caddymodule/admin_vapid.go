// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webpush"
)

func getVAPID(a *App, r *http.Request) (any, error) {
	return a.vapid(r, func(ctx context.Context, w *Webpush, _ map[string]int) (webpush.Ring, error) {
		return w.keys.ring(ctx)
	})
}

func rotateVAPID(a *App, r *http.Request) (any, error) {
	return a.vapid(r, func(ctx context.Context, w *Webpush, inUse map[string]int) (webpush.Ring, error) {
		return w.keys.rotate(ctx, inUse)
	})
}

var errNoWebpush = errors.New("no deliver webpush is configured, so there are no VAPID keys")

func (a *App) vapid(r *http.Request, find func(context.Context, *Webpush, map[string]int) (webpush.Ring, error)) (any, error) {
	w := a.webpush()
	if w == nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errNoWebpush}
	}
	ctx, cancel := context.WithTimeout(r.Context(), vapidTimeout)
	defer cancel()
	inUse, err := w.serverKeys(ctx)
	if err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	ring, err := find(ctx, w, inUse)
	if err != nil {
		return nil, err
	}
	answer := adminapi.VAPIDKeys{Keys: make([]adminapi.VAPIDKey, len(ring))}
	for i, key := range ring {
		answer.Keys[i] = adminapi.VAPIDKey{PublicKey: key.Public(), Created: key.Created, Devices: inUse[key.Public()]}
	}
	return answer, nil
}

// serverKeys counts the devices by the key that they were made with.
func (w *Webpush) serverKeys(ctx context.Context) (map[string]int, error) {
	select {
	case <-w.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := w.store.Wait(ctx); err != nil {
		return nil, err
	}
	return w.store.ServerKeys()
}
