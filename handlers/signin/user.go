// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package signin authenticates the users of the API and the page.
//
// An [Authenticator] puts the user, by the name that Dovecot has for them, into
// the context of each request ([User]), or answers with what is missing. It
// trusts either a handler before it that has authenticated the request, or a
// login that the mail server accepts: shown in the request itself (HTTP Basic),
// or earlier, for a session cookie. It bounds what wrong logins cost, here and
// at the mail server.
//
// Like everything below handlers, it makes no promise of stability before v1.
package signin

import "context"

type (
	userKey  struct{}
	validKey struct{}
)

// WithUser returns a context that carries user, the signed-in user's Dovecot
// login.
func WithUser(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

// User returns the login of the signed-in user. ok is false if there is none.
func User(ctx context.Context) (user string, ok bool) {
	user, ok = ctx.Value(userKey{}).(string)
	return user, ok
}

func withValid(ctx context.Context, valid func() bool) context.Context {
	return context.WithValue(ctx, validKey{}, valid)
}

// Validity returns a function that reports whether the session of a request is
// still valid: it has neither been ended nor expired. The function keeps
// nothing of the request and may be used long after it has ended.
func Validity(ctx context.Context) (stillValid func() bool) {
	if stillValid, ok := ctx.Value(validKey{}).(func() bool); ok {
		return stillValid
	}
	return func() bool { return true }
}
