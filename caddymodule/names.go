// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/signin"
	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// provisionNames lets Dovecot say what its users are called, where there is a
// DoveAdm block.
func (a *App) provisionNames() {
	a.names = new(username.Names)
	client := a.doveadmClient()
	if client == nil {
		return
	}
	a.names.Ask = func(ctx context.Context, login string) (string, error) {
		name, err := client.User(ctx, login)
		if errors.Is(err, doveadm.ErrUnknownUser) {
			return "", username.ErrUnknown
		}
		return name, err
	}
}

// checkLogin checks a mail login at the IMAP server, and finds out who it is.
func (a *API) checkLogin(ctx context.Context, server *imap.Server, login, password string) error {
	err := server.Login(ctx, login, password)
	switch {
	case errors.Is(err, imap.ErrCredentials):
		return signin.ErrWrong
	case err != nil:
		return err
	}
	known, err := a.app.names.Identify(ctx, login, func(ctx context.Context, user, master string) (bool, error) {
		return server.Takes(ctx, imap.Login{User: user, Master: master, Password: password})
	})
	if err == nil && !known {
		if ok, suppressed := a.quiet.Allow(struct{}{}); ok {
			a.log.Warn("somebody signed in with a login that Dovecot's user database does not know: if Dovecot reports "+
				"their mail under another name, their devices get none of it", zap.Int64("not_logged_since", suppressed))
		}
	}
	return err
}
