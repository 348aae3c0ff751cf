// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// dropTarget gives up what is kept for the removed target with the given name.
func dropTarget(a *App, r *http.Request) (any, error) {
	q, err := openQueueOf(a)
	if err != nil {
		return nil, err
	}
	name := r.URL.Query().Get("name")
	if name == "" {
		return nil, badRequest("give the name of a target that is no longer configured")
	}
	err = q.Drop(r.Context(), name)
	switch {
	case errors.Is(err, queue.ErrInUse):
		err = caddy.APIError{HTTPStatus: http.StatusConflict, Err: err}
	case errors.Is(err, queue.ErrNotFound):
		err = caddy.APIError{HTTPStatus: http.StatusNotFound, Err: err}
	case errors.Is(err, queue.ErrUnavailable):
		err = caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	return nil, err
}

// removedTargets is what is kept for removed targets, in the order of their
// names.
func removedTargets(stats queue.Stats) (removed []adminapi.RemovedTarget) {
	for _, name := range slices.Sorted(maps.Keys(stats.Removed)) {
		kept := stats.Removed[name]
		r := adminapi.RemovedTarget{Name: name, Waiting: kept.Waiting, Parked: kept.Parked}
		if !kept.Until.IsZero() {
			r.Until = &kept.Until
		}
		removed = append(removed, r)
	}
	return removed
}
