// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// certificateTimeout bounds how long a server waits for its certificates after
// Caddy has started. Those that are stored are loaded in a moment; Dovecot waits
// no longer for others.
const certificateTimeout = 2 * time.Second

// awaitStart makes the server that a handler is provisioned for serve nobody
// before Caddy has started, and has loaded the certificates that it manages.
// Caddy listens before that: it would fail the handshakes of those who come in
// the meantime, or waited at a socket that systemd holds, and Dovecot tries none
// of them again. Until then, connections wait in the kernel.
//
// A configuration that follows another one finds the certificates loaded.
func awaitStart(ctx caddy.Context) error {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if _, err := caddy.ActiveContext().AppIfConfigured("http"); !ok || err == nil {
		return nil
	}
	tlsApp, err := ctx.App("tls")
	if err != nil {
		return fmt.Errorf("loading the tls app: %w", err)
	}
	eventsApp, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading the events app: %w", err)
	}
	events, names := eventsApp.(*caddyevents.App), certificateNames(server)
	var started atomic.Bool
	ready, done := context.WithCancel(ctx)
	check := func() {
		if started.Load() && ready.Err() == nil && !slices.ContainsFunc(names, func(name string) bool {
			return !tlsApp.(*caddytls.TLS).HasCertificateForSubject(name)
		}) {
			done()
		}
	}
	// Caddy's server calls it after it has accepted a connection, before it
	// accepts the next one.
	server.RegisterConnContext(func(conn context.Context, _ net.Conn) context.Context {
		<-ready.Done()
		return conn
	})
	if err := events.On("cached_managed_cert", eventFunc(check)); err != nil {
		return err
	}
	return events.On("started", eventFunc(sync.OnceFunc(func() {
		started.Store(true)
		time.AfterFunc(certificateTimeout, done)
		check()
	})))
}

// certificateNames are the names of the sites of a server that serves HTTPS.
func certificateNames(server *caddyhttp.Server) (names []string) {
	if len(server.TLSConnPolicies) == 0 {
		return nil
	}
	for _, route := range server.Routes {
		for _, matchers := range route.MatcherSets {
			for _, m := range matchers {
				if hosts, ok := m.(*caddyhttp.MatchHost); ok {
					names = append(names, *hosts...)
				}
			}
		}
	}
	return names
}

// eventFunc is called when an event occurs.
type eventFunc func()

// Handle implements caddyevents.Handler.
func (f eventFunc) Handle(context.Context, caddy.Event) error {
	f()
	return nil
}
