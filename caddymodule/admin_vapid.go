// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

func getVAPID(a *App, r *http.Request) (any, error) {
	return a.vapid(r, func(ctx context.Context, h target.KeyHolder, _ map[string]int) ([]target.ServerKey, error) {
		return h.ServerKeys(ctx)
	})
}

func rotateVAPID(a *App, r *http.Request) (any, error) {
	return a.vapid(r, func(ctx context.Context, h target.KeyHolder, inUse map[string]int) ([]target.ServerKey, error) {
		return h.RotateServerKeys(ctx, inUse)
	})
}

var errNoWebpush = errors.New("no deliver webpush is configured, so there are no VAPID keys")

func (a *App) vapid(r *http.Request, find func(context.Context, target.KeyHolder, map[string]int) ([]target.ServerKey, error)) (any, error) {
	holder := a.keyHolder()
	if holder == nil || a.devices == nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errNoWebpush}
	}
	ctx, cancel := context.WithTimeout(r.Context(), devicesTimeout)
	defer cancel()
	inUse, err := a.serverKeysInUse(ctx)
	if err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	keys, err := find(ctx, holder, inUse)
	if err != nil {
		return nil, err
	}
	answer := adminapi.VAPIDKeys{Keys: make([]adminapi.VAPIDKey, len(keys))}
	for i, key := range keys {
		answer.Keys[i] = adminapi.VAPIDKey{PublicKey: key.Public, Created: key.Created, Devices: inUse[key.Public]}
	}
	return answer, nil
}

// serverKeysInUse counts the devices by the key that they were made with.
func (a *App) serverKeysInUse(ctx context.Context) (map[string]int, error) {
	if err := a.devices.wait(ctx); err != nil {
		return nil, err
	}
	return a.devices.store.ServerKeys()
}
