// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package signin finds out who is asking.
//
// In come the requests of people's browsers and of programs; out goes the user,
// as Dovecot knows him, in the context of each request ([User]), or an answer
// that says what is missing. A [Gate] takes either the word of whatever
// authenticated the request before it, or the login of the mail server: in a
// session cookie that it gave out for one, or in the request itself (HTTP
// Basic). It bounds what wrong logins can cost, here and at the mail server.
package signin

import "context"

type (
	userKey  struct{}
	validKey struct{}
)

// WithUser returns a context of a request that user, a login of Dovecot, has
// been signed in for.
func WithUser(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

// User returns the login of whoever is asking; ok is false if nobody is
// signed in.
func User(ctx context.Context) (user string, ok bool) {
	user, ok = ctx.Value(userKey{}).(string)
	return user, ok
}

func withValid(ctx context.Context, valid func() bool) context.Context {
	return context.WithValue(ctx, validKey{}, valid)
}

// Validity returns what tells whether that which the user of a request signed in
// with still holds: the session has neither ended nor expired meanwhile. It keeps
// nothing of the request, and may be used long after that has ended.
func Validity(ctx context.Context) (holds func() bool) {
	if holds, ok := ctx.Value(validKey{}).(func() bool); ok {
		return holds
	}
	return func() bool { return true }
}
