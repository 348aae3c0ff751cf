// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Guard{})
}

// Guard refuses paths to everybody but some source networks, in the place of
// Apache's `<Location>` with `Allow from`. It answers 403, or 425 to a request
// in TLS early data, whose source nobody has proven yet.
//
// A path is guarded in every spelling that a backend could understand as it:
// doubled slashes, dot segments, percent-encoding, letter case, parameters
// after a semicolon, backslashes.
//
// In the Caddyfile this is the directive `dovecot_push_guard`.
type Guard struct {
	// The paths to guard: /preliminary/* and /preliminary mean the same, the
	// path and everything below it. /* is everything.
	Paths []string `json:"paths"`

	// Who is allowed nevertheless.
	Access

	gate *gate
}

// CaddyModule returns the Caddy module information.
func (Guard) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.dovecot_push_guard",
		New: func() caddy.Module { return new(Guard) },
	}
}

// Provision reads the configuration.
func (g *Guard) Provision(ctx caddy.Context) (err error) {
	if len(g.Paths) == 0 {
		return errors.New("no path to guard")
	}
	if g.gate, err = g.Access.gate(ctx, g.Paths...); err != nil {
		return err
	}
	return registerMetrics(ctx.GetMetricsRegistry(), nil)
}

// ServeHTTP refuses, or lets pass.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if g.gate.refuses(w, r) {
		return nil
	}
	return next.ServeHTTP(w, r)
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Guard)(nil)
	_ caddyhttp.MiddlewareHandler = (*Guard)(nil)
)
