// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package signin finds out who is asking.
package signin

import "context"

type userKey struct{}

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
