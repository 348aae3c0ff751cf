// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webpush"
)

// VAPIDKeys is what GET /dovecot_push/vapid and POST /dovecot_push/vapid/rotate
// answer: the keys by which push services know this server, the newest first.
type VAPIDKeys struct {
	Keys []VAPIDKey `json:"keys"`
}

// VAPIDKey is one key. The private key is never shown.
type VAPIDKey struct {
	// What browsers take as applicationServerKey.
	PublicKey string    `json:"public_key"`
	Created   time.Time `json:"created"`
	// How many devices have subscribed with it.
	Devices int `json:"devices"`
}

func init() {
	adminRoutes["GET vapid"] = func(a *App, r *http.Request) (any, error) {
		return a.vapid(r, func(ctx context.Context, w *Webpush, _ map[string]int) (webpush.Ring, error) {
			return w.keys.ring(ctx)
		})
	}
	adminRoutes["POST vapid/rotate"] = func(a *App, r *http.Request) (any, error) {
		return a.vapid(r, func(ctx context.Context, w *Webpush, inUse map[string]int) (webpush.Ring, error) {
			return w.keys.rotate(ctx, inUse)
		})
	}
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
	answer := VAPIDKeys{Keys: make([]VAPIDKey, len(ring))}
	for i, key := range ring {
		answer.Keys[i] = VAPIDKey{PublicKey: key.Public(), Created: key.Created, Devices: inUse[key.Public()]}
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
