// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package provisioning is an example of a Caddy module that uses the app
// dovecot_push: an HTTP handler that an account management calls.
//
//	PUT    /accounts/<login>   registers the user in Dovecot
//	DELETE /accounts/<login>   unregisters the user
//	GET    /accounts/<login>   the state, and that of INBOX
package provisioning

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule"
)

func init() {
	caddy.RegisterModule(Accounts{})
	httpcaddyfile.RegisterHandlerDirective("accounts", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return new(Accounts), nil
	})
	httpcaddyfile.RegisterDirectiveOrder("accounts", httpcaddyfile.Before, "respond")
}

// Accounts is the handler.
type Accounts struct {
	push caddymodule.Provisioning
	mux  *http.ServeMux
}

// CaddyModule returns the Caddy module information.
func (Accounts) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.accounts",
		New: func() caddy.Module { return new(Accounts) },
	}
}

// Provision finds the app.
func (a *Accounts) Provision(ctx caddy.Context) error {
	app, err := ctx.AppIfConfigured("dovecot_push")
	if err != nil {
		return fmt.Errorf("accounts needs the global option dovecot_push: %w", err)
	}
	a.push = app.(caddymodule.Provisioning)
	a.mux = http.NewServeMux()
	a.mux.HandleFunc("PUT /accounts/{login}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, a.push.RegisterUser(r.Context(), r.PathValue("login")))
	})
	a.mux.HandleFunc("DELETE /accounts/{login}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, a.push.UnregisterUser(r.Context(), r.PathValue("login")))
	})
	a.mux.HandleFunc("GET /accounts/{login}", a.show)
	return nil
}

// show uses the connector beside the registrations.
func (a *Accounts) show(w http.ResponseWriter, r *http.Request) {
	login := r.PathValue("login")
	registration, err := a.push.UserRegistration(r.Context(), login)
	if err != nil {
		answer(w, err)
		return
	}
	inbox, err := a.push.DoveAdmClient().MailboxStatus(r.Context(), login, "INBOX", "messages", "unseen")
	if err != nil {
		answer(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"registration": registration, "inbox": inbox})
}

func answer(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, caddymodule.ErrUnknownUser):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, caddymodule.ErrConflict):
		http.Error(w, err.Error(), http.StatusConflict)
	default:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (a *Accounts) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if _, pattern := a.mux.Handler(r); pattern == "" {
		return next.ServeHTTP(w, r)
	}
	a.mux.ServeHTTP(w, r)
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Accounts)(nil)
	_ caddyhttp.MiddlewareHandler = (*Accounts)(nil)
)
