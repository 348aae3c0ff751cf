// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package middleware is the target "deliver middleware" as a module of Caddy: the
// Open-Xchange middleware, behind Caddy's reverse_proxy.
package middleware

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	deliver "github.com/dovecotpush/caddy-dovecot-push/internal/delivery/middleware"
	"github.com/dovecotpush/caddy-dovecot-push/internal/doctor"
)

func init() {
	caddy.RegisterModule(Middleware{})
}

// Middleware delivers notifications to the Open-Xchange middleware: the same
// PUT with the same body that Dovecot sent, to one of the nodes of its cluster.
// While no node answers, notifications wait.
type Middleware struct {
	// The target's name in logs, metrics and the queue: a target with another
	// name is a new one. Default: middleware.
	Name string `json:"name,omitempty"`

	// The path of the notify endpoint at the middleware.
	// Default: /preliminary/http-notify/v1/notify
	Path string `json:"path,omitempty"`

	// User name for the middleware, the value of its property
	// com.openexchange.rest.services.basic-auth.login. Placeholders are
	// replaced when the configuration is loaded.
	Username string `json:"username,omitempty"`

	// The password for the middleware, as a placeholder: {env.NAME} or
	// {file./path}.
	Password string `json:"password,omitempty"`

	// Whether the receiver is an Open-Xchange middleware, and not another
	// program that takes Dovecot's notifications. Open-Xchange answers 200 and
	// drops notifications for a user that is not `<user id>@<context id>`.
	// These are then counted, and the status names them.
	OpenXchange bool `json:"open_xchange,omitempty"`

	// Caddy's reverse_proxy handler with the nodes, and all of its options:
	// load balancing, health checks, dynamic upstreams, TLS.
	ReverseProxyRaw json.RawMessage `json:"reverse_proxy" caddy:"namespace=http.handlers inline_key=handler"`

	target *deliver.Target
}

// CaddyModule returns the Caddy module information.
func (Middleware) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "dovecot_push.targets.middleware",
		New: func() caddy.Module { return new(Middleware) },
	}
}

// Provision reads the configuration.
func (m *Middleware) Provision(ctx caddy.Context) error {
	if m.Name == "" {
		m.Name = "middleware"
	}
	if m.Path == "" {
		m.Path = adminapi.DefaultPath
	}
	if !strings.HasPrefix(m.Path, "/") {
		return fmt.Errorf("path %q must begin with a slash", m.Path)
	}
	username, err := option.Replace(m.Username)
	if err != nil {
		return fmt.Errorf("credentials: user name: %w", err)
	}
	var password string
	if m.Password != "" {
		if password, err = option.Secret(m.Password); err != nil {
			return fmt.Errorf("credentials: %w", err)
		}
	}
	if m.ReverseProxyRaw == nil {
		return errors.New("no reverse_proxy: the nodes of the middleware are not known")
	}
	mod, err := ctx.LoadModule(m, "ReverseProxyRaw")
	if err != nil {
		return fmt.Errorf("loading reverse_proxy: %w", err)
	}
	proxy, ok := mod.(*reverseproxy.Handler)
	if !ok {
		return fmt.Errorf("reverse_proxy is a %T", mod)
	}
	sendUpstreamHost(proxy)
	repeatBodies(proxy)
	m.target = &deliver.Target{
		URL:      &url.URL{Scheme: "http", Host: "middleware", Path: m.Path},
		Username: username, Password: password,
		Proxy: func(w http.ResponseWriter, r *http.Request) error { return serveProxy(proxy, w, r) },
	}
	if m.OpenXchange {
		// Also while it is 0: an alert must see the first one.
		m.target.UnknownUser = unknownUsers.WithLabelValues(m.Name).Inc
	}
	return nil
}

// Target implements target.Module.
func (m *Middleware) Target() target.Target {
	return target.Target{Name: m.Name, Deliverer: m.target}
}

// Probe implements target.Prober: with an event that the middleware ignores.
func (m *Middleware) Probe(ctx context.Context) (asked string, result target.Result) {
	asked = "PUT " + m.Path + " with an event that it ignores"
	return asked, m.target.Probe(ctx, []byte(doctor.ProbeBody))
}

// serveProxy gives the handler what a request in Caddy's server has.
func serveProxy(proxy *reverseproxy.Handler, w http.ResponseWriter, r *http.Request) error {
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
	err := proxy.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		return errors.New("reverse_proxy did not answer")
	}))
	var handler caddyhttp.HandlerError
	if errors.As(err, &handler) && handler.StatusCode == http.StatusServiceUnavailable { // no answer of a node ends here
		return deliver.ErrNoNode
	}
	if dial, ok := errors.AsType[reverseproxy.DialError](err); ok { // which hides what it wraps
		return &net.OpError{Op: "dial", Net: "tcp", Err: errors.New(strings.TrimPrefix(dial.Error(), "dial tcp "))}
	}
	return err
}

// sendUpstreamHost makes each node see its own address in the Host field,
// unless the configuration says otherwise: there is no client whose Host
// could be passed on.
func sendUpstreamHost(proxy *reverseproxy.Handler) {
	if proxy.Headers == nil {
		proxy.Headers = new(headers.Handler)
	}
	if proxy.Headers.Request == nil {
		proxy.Headers.Request = new(headers.HeaderOps)
	}
	if proxy.Headers.Request.Set == nil {
		proxy.Headers.Request.Set = make(http.Header)
	}
	if proxy.Headers.Request.Set.Get("Host") == "" {
		proxy.Headers.Request.Set.Set("Host", "{http.reverse_proxy.upstream.hostport}")
	}
}

// Interface guards.
var (
	_ caddy.Provisioner  = (*Middleware)(nil)
	_ target.UserChecker = (*Middleware)(nil)
	_ target.Metered     = (*Middleware)(nil)
	_ target.Module      = (*Middleware)(nil)
	_ target.Prober      = (*Middleware)(nil)
)
