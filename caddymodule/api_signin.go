// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/signin"
	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
)

// authenticator makes what finds out who is asking.
func (a *API) authenticator(ctx caddy.Context, streams *streams) (*signin.Authenticator, error) {
	cfg := signin.Config{Canonical: a.app.names.Canonical, Unknown: a.app.names.Unknown, Source: sourceOf, Observe: a.observeSignIn}
	switch a.Login {
	case loginCaddy:
		cfg.External = authenticatedUser
		return signin.New(cfg), nil
	case loginIMAP:
	case "":
		return nil, errors.New("login is missing: choose \"login imap\" or \"login caddy\"")
	default:
		return nil, fmt.Errorf("people sign in with \"login imap\" or \"login caddy\"; there is no login %q", a.Login)
	}
	server, where, err := a.imapServer()
	if err != nil {
		return nil, fmt.Errorf("login imap: %w", err)
	}
	a.app.logins[where] = server
	cfg.Check = func(ctx context.Context, user, password string) error {
		return a.checkLogin(ctx, server, user, password)
	}
	cfg.Accepted = a.app.signedIn
	key := newSessionKey(ctx.Storage())
	cfg.Key = key.get
	cfg.Revoked, cfg.Revoke = streams.revoked, streams.revoke
	cfg.Audience = a.Path + " " + where
	return signin.New(cfg), nil
}

// imapServer is where logins are checked, and what stands for it in cookies.
func (a *API) imapServer() (server *imap.Server, where string, err error) {
	switch {
	case a.IMAP != nil:
		server, err = a.IMAP.server()
		return server, a.IMAP.URL, err
	case a.app.IMAP != nil:
		return a.app.IMAP.server, a.app.IMAP.URL, nil
	default:
		return nil, "", errors.New("no IMAP server to check logins at: write its URL, such as login imap imaps://imap.example.com, or an imap block in the global option")
	}
}

// authenticatedUser is whom something before the handler has authenticated.
func authenticatedUser(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	user, _ := repl.GetString("http.auth.user.id")
	return user
}

// sourceOf is where a request comes from: for a client behind a proxy that
// Caddy trusts, the client.
func sourceOf(r *http.Request) netip.Addr {
	if addr, ok := clientIP(r); ok {
		return addr
	}
	addr, _ := guard.SocketPeer(r)
	return addr
}

// observeSignIn counts logins, and tells of those that an operator should know.
func (a *API) observeSignIn(at signin.Attempt) {
	signIns.WithLabelValues(string(at.Result)).Inc()
	switch at.Result {
	case signin.Accepted, signin.Known:
		return
	case signin.Unavailable:
		a.log.Error("a mail login could not be checked", zap.Error(at.Err))
		return
	default:
	}
	if ok, suppressed := a.quiet.Allow(struct{}{}); ok {
		a.log.Warn("refused a sign-in", zap.String("result", string(at.Result)), zap.Stringer("remote", at.Source), zap.Int64("not_logged_since", suppressed))
	}
}
