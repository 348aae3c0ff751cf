// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/credentials"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/notify"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

func init() {
	caddy.RegisterModule(Notify{})
}

// Notify is the endpoint that Dovecot's push_notification plugin reports new
// mails to, with its driver `ox`. What it answers with 200 is stored in the
// queue of the app `dovecot_push`; the answer never waits for a delivery.
//
// A request for its path must come from an allowed network; then credentials
// or a client certificate are asked for; then the notification is read. Every
// path that is not below it goes to the next handler.
//
// In the Caddyfile this is the directive `dovecot_push_notify`.
type Notify struct {
	// The path of the endpoint. Default: /preliminary/http-notify/v1/notify
	Path string `json:"path,omitempty"`

	// Who is allowed at all.
	Access

	// User names and passwords that are accepted. Dovecot has one of them in
	// the URL of its driver. Several allow rotation.
	Credentials []Credentials `json:"credentials,omitempty"`

	// The role of a client certificate, on a server with client_auth that
	// verifies it: `sufficient` replaces credentials, `required` is needed in
	// addition to credentials, or alone if there are none.
	ClientCertificate string `json:"client_certificate,omitempty"`

	// Require neither credentials nor a certificate. The allowed networks are
	// then the only protection.
	Unauthenticated bool `json:"unauthenticated,omitempty"`

	// The largest request body, in bytes, at most 8 MiB. Dovecot sends From and
	// Subject in full: bodies of up to 5.3 MB were seen. Default: 6 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// How long the request body may take to arrive. Default: 10s.
	ReadTimeout caddy.Duration `json:"read_timeout,omitempty"`

	// The events that are accepted, of those in RFC 5423: messageNew,
	// messageAppend, messageRead, messageTrash, messageExpunge, flagsSet,
	// flagsClear, mailboxCreate, mailboxDelete, mailboxRename,
	// mailboxSubscribe, mailboxUnsubscribe; or all. Others are answered with
	// 200, counted and not stored. Dovecot's driver `ox` reports messageNew
	// only. Default: messageNew.
	Events []string `json:"events,omitempty"`

	// A path of the same site for the health checks of load balancers: 204 if
	// this Caddy can accept notifications, else 503. The allowed networks apply
	// to it, credentials do not. Default: none.
	Health string `json:"health,omitempty"`

	app     *App
	gate    *gate
	handler *notify.Handler
}

// Credentials is one pair of user name and password.
type Credentials struct {
	// User name. Placeholders are replaced when the configuration is loaded.
	Username string `json:"username"`

	// The password as a placeholder, {env.NAME} or {file./path}; or its hash,
	// bcrypt or argon2id, as `caddy hash-password` prints it.
	Password string `json:"password"`
}

// CaddyModule returns the Caddy module information.
func (Notify) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.dovecot_push_notify",
		New: func() caddy.Module { return new(Notify) },
	}
}

// Provision reads the configuration.
func (n *Notify) Provision(ctx caddy.Context) error {
	if n.Path == "" {
		n.Path = adminapi.DefaultPath
	}
	if !strings.HasPrefix(n.Path, "/") || strings.ContainsAny(n.Path, "*?#%{}") {
		return fmt.Errorf("path %q must be one plain path, such as %s", n.Path, adminapi.DefaultPath)
	}
	mod, err := ctx.AppIfConfigured("dovecot_push")
	if err != nil {
		return fmt.Errorf("the notify endpoint needs the global option dovecot_push (the app of that name), "+
			"which says where notifications go: %w", err)
	}
	app := mod.(*App)
	n.app = app
	paths := []string{n.Path}
	if n.Health != "" {
		if err := plainHealthPath(n.Health, n.Path); err != nil {
			return err
		}
		paths = append(paths, n.Health)
	}
	if n.gate, err = n.Access.gate(ctx, paths...); err != nil {
		return err
	}
	app.addEndpoint(ctx, n)
	if err := awaitStart(ctx); err != nil {
		return err
	}
	events, err := notification.ParseEvents(n.Events)
	if err != nil {
		return err
	}
	n.handler = &notify.Handler{
		Unauthenticated: n.Unauthenticated,
		Events:          events,
		Accept:          app.accept,
		MaxBody:         n.MaxBody,
		ReadTimeout:     time.Duration(n.ReadTimeout),
		Peer:            n.gate.guard.Peer,
		Logger:          ctx.Slogger(),
		Instance:        instance,
		Repaired:        notifyRepaired.Inc,
		Observe: func(result notify.Result, source netip.Addr, took time.Duration) {
			observeNotify(result, took)
			app.notified(source, result)
			app.summary.notify(result)
		},
	}
	if n.handler.ClientCertificate, err = certificateMode(n.ClientCertificate); err != nil {
		return err
	}
	if n.handler.Credentials, err = verifier(n.Credentials); err != nil || n.handler.Credentials == nil {
		return err
	}
	evs, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading the events app: %w", err)
	}
	return evs.(*caddyevents.App).On("stopping", n)
}

// Handle ends the waits of requests when the process is about to end, as Caddy
// waits for them first. With another configuration to come they go on.
func (n *Notify) Handle(context.Context, caddy.Event) error {
	if caddy.Exiting() {
		n.handler.Credentials.Close()
	}
	return nil
}

// Cleanup ends what checks the credentials.
func (n *Notify) Cleanup() error {
	if n.handler != nil && n.handler.Credentials != nil { // Provision may have failed before
		n.handler.Credentials.Close()
	}
	return nil
}

// Validate tells about contradictions in the configuration.
func (n *Notify) Validate() error {
	secured := len(n.Credentials) > 0 || n.ClientCertificate != ""
	switch {
	case !secured && !n.Unauthenticated:
		return errors.New("the notify endpoint asks for nothing: add credentials or client_certificate, " +
			"or write unauthenticated if the allowed networks are protection enough")
	case secured && n.Unauthenticated:
		return errors.New("unauthenticated contradicts credentials and client_certificate")
	case n.MaxBody < 0 || n.MaxBody > queue.MaxBody:
		return fmt.Errorf("max_body must be at most %d bytes", queue.MaxBody)
	case n.ReadTimeout < 0:
		return errors.New("read_timeout cannot be negative")
	}
	return nil
}

// ServeHTTP judges the source, then hands over to the endpoint.
func (n *Notify) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if n.gate.refuses(w, r) {
		n.app.outages.refused(n.gate.peer(r))
		return nil
	}
	switch {
	case r.URL.Path == n.Path:
	case n.Health != "" && r.URL.Path == n.Health:
		return n.app.serveHealth(w, r)
	case matchesAnyPath(n.gate.paths, r):
		// Caddy answers 200 to what no handler takes: Dovecot would believe
		// that a notification sent to a misspelled URL was accepted. So could an
		// error route.
		http.Error(w, "The path of the notify endpoint is exactly "+n.Path, http.StatusNotFound)
		return nil
	default:
		return next.ServeHTTP(w, r)
	}
	n.handler.ServeHTTP(w, r)
	return nil
}

func plainHealthPath(path, notify string) error {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "*?#%{}") {
		return fmt.Errorf("health %q must be one plain path, such as /health", path)
	}
	if path == notify {
		return errors.New("health needs another path than the notify endpoint")
	}
	return nil
}

func certificateMode(s string) (notify.CertificateMode, error) {
	switch s {
	case "":
		return notify.CertificateIgnored, nil
	case "sufficient":
		return notify.CertificateSufficient, nil
	case "required":
		return notify.CertificateRequired, nil
	default:
		return 0, fmt.Errorf("client_certificate is sufficient or required, not %q", s)
	}
}

// credentialMemory is that of all endpoints, for as long as the process lives:
// what was right is known over a reload.
var credentialMemory = sync.OnceValue(credentials.NewMemory)

func verifier(all []Credentials) (*credentials.Verifier, error) {
	if len(all) == 0 {
		return nil, nil
	}
	pairs := make([]credentials.Pair, len(all))
	for i, c := range all {
		username, err := option.Replace(c.Username)
		if err != nil {
			return nil, fmt.Errorf("credentials: user name: %w", err)
		}
		pairs[i].Username = username
		password := c.Password
		if comparerOf(password) == nil {
			if password, err = option.Secret(c.Password); err != nil {
				return nil, fmt.Errorf("credentials of %s: %w (or give the hash that caddy hash-password prints)", username, err)
			}
		}
		if comparer := comparerOf(password); comparer != nil {
			pairs[i].Hash, pairs[i].Comparer = []byte(password), comparer
		} else {
			pairs[i].Password = []byte(password)
		}
	}
	return credentials.New(pairs, credentialMemory())
}

// comparerOf returns the module for the kind of hash that s is, or nil if s is
// none.
func comparerOf(s string) credentials.Comparer {
	switch {
	case strings.HasPrefix(s, "$argon2id$"):
		return caddyauth.Argon2idHash{}
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		return caddyauth.BcryptHash{}
	default:
		return nil
	}
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Notify)(nil)
	_ caddy.Validator             = (*Notify)(nil)
	_ caddy.CleanerUpper          = (*Notify)(nil)
	_ caddyhttp.MiddlewareHandler = (*Notify)(nil)
	_ caddyevents.Handler         = (*Notify)(nil)
)
