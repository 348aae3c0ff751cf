// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"log/slog"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule"
)

func init() { caddy.RegisterModule(Failed{}) }

// Failed is a handler of the event dovecot_push.registration_failed. A user whom
// Dovecot does not know any more it takes for an account that was closed.
type Failed struct{ log *slog.Logger }

// CaddyModule returns the Caddy module information.
func (Failed) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.accounts", New: func() caddy.Module { return new(Failed) }}
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler: there are no options.
func (*Failed) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// Provision implements caddy.Provisioner. The app is not there yet: it needs
// the events app, which is being provisioned.
func (f *Failed) Provision(ctx caddy.Context) error {
	f.log = ctx.Slogger()
	return nil
}

// Handle implements caddyevents.Handler.
func (f *Failed) Handle(ctx context.Context, e caddy.Event) error {
	user, _ := e.Data["user"].(caddymodule.EventUser)
	if user == "" {
		f.log.Error("nobody can be registered", "error", e.Data["error"])
		return nil
	}
	app, err := caddy.ActiveContext().AppIfConfigured("dovecot_push")
	if err != nil {
		return err
	}
	registration, err := app.(caddymodule.Provisioning).UserRegistration(ctx, user.String())
	if err != nil {
		return err
	}
	if registration.State == "unknown_user" {
		f.log.Info("an account was closed")
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*Failed)(nil)
	_ caddyfile.Unmarshaler = (*Failed)(nil)
	_ caddyevents.Handler   = (*Failed)(nil)
)
