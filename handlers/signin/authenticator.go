// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/throttle"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// Config says how an [Authenticator] authenticates.
type Config struct {
	// External returns the user that an earlier handler has authenticated, or
	// "" if there is none. If it is set, nothing else counts.
	External func(*http.Request) string

	// Canonical returns Dovecot's name of the user with a login that was
	// verified or that External returned. It fails with a [*username.Error] for
	// what cannot be a user name. Default: the login in lower case.
	Canonical func(ctx context.Context, login string) (string, error)

	// Unknown, if set, reports whether Dovecot says that it has no user of the
	// name that Canonical returned. They can sign in, and are told so.
	Unknown func(ctx context.Context, user string) bool

	// Check asks the mail server. It returns nil if the password is right,
	// [ErrWrong] if it is not, or another error if the server could not be
	// asked.
	Check func(ctx context.Context, user, password string) error
	// Accepted, if set, is called with each login that Check has just accepted.
	// It delays that login and no other one, and is called as often
	// concurrently as Check.
	Accepted func(ctx context.Context, user, password string)
	// Key returns the key that session cookies are signed with: at least 32
	// random bytes, the same after a restart and on each instance of a cluster.
	// It is called for each request with a cookie.
	Key func(context.Context) ([]byte, error)
	// Revoked reports whether a session was ended. Revoke ends one for good;
	// after until it has expired anyway, and that can be forgotten. See
	// [Revocations].
	Revoked func(ctx context.Context, s Session) (bool, error)
	Revoke  func(ctx context.Context, s Session, until time.Time) error
	// Audience names the site that the cookies are for. Authenticators with
	// another audience refuse them.
	Audience string

	// Source returns the address a request comes from. Wrong logins are limited
	// per source.
	Source func(*http.Request) netip.Addr
	// Observe, if set, is called with every login attempt.
	Observe func(Attempt)
}

// Attempt is one login attempt.
type Attempt struct {
	Result Result
	Source netip.Addr
	// Err is why the mail server could not be asked, with [Unavailable].
	Err error
}

// sessionsOfUser limits how many sessions a user may start. Ending one is a
// durable write.
var sessionsOfUser = throttle.Limit{Burst: 20, Interval: time.Minute, Keys: 4096}

// Authenticator authenticates requests. It is safe for concurrent use.
type Authenticator struct {
	cfg    Config
	cookie string
	logins *logins
	begun  *throttle.Throttle[string] // sessions, by user
}

// New returns an Authenticator.
func New(cfg Config) *Authenticator {
	if cfg.Observe == nil {
		cfg.Observe = func(Attempt) {}
	}
	if cfg.Unknown == nil {
		cfg.Unknown = func(context.Context, string) bool { return false }
	}
	if cfg.Canonical == nil {
		cfg.Canonical = new(username.Names).Canonical
	}
	return &Authenticator{cfg: cfg, cookie: cookieName(cfg.Audience), logins: newLogins(cfg.Check, cfg.Accepted), begun: throttle.New[string](sessionsOfUser)}
}

// Require passes authenticated requests to next, with the user in their
// context, and answers all others with 401, 429 or 503.
func (a *Authenticator) Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, refusal := a.identify(r)
		if refusal != nil {
			refusal.write(w, r)
			return
		}
		if who.session != nil {
			a.renew(w, r, who.session)
		}
		ctx := WithUser(r.Context(), who.user)
		if s := who.session; s != nil {
			// The request may have ended when this is called.
			ctx = withValid(ctx, func() bool { return a.valid(context.Background(), s) == nil })
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// identity is an authenticated user. session is nil unless there was a cookie.
type identity struct {
	user    string
	session *session
}

func (a *Authenticator) identify(r *http.Request) (identity, *refusal) {
	if a.cfg.External != nil {
		login := a.cfg.External(r)
		if login == "" {
			return identity{}, notSignedIn
		}
		return a.canonical(r, login)
	}
	if r.Header.Get("Authorization") != "" {
		return a.basic(r)
	}
	s, err := a.session(r)
	switch {
	case err == nil:
		return identity{user: s.user, session: s}, nil
	case errors.Is(err, errNoSession):
		return identity{}, notSignedIn
	case errors.Is(err, errToken):
		return identity{}, signedOut
	default:
		return identity{}, notNow(busyRetryAfter)
	}
}

// basic checks the login in the request itself.
func (a *Authenticator) basic(r *http.Request) (identity, *refusal) {
	user, password, ok := r.BasicAuth()
	if !ok {
		return identity{}, notSignedIn
	}
	if refusal := a.verify(r, user, password); refusal != nil {
		return identity{}, refusal
	}
	return a.canonical(r, user)
}

// canonical returns the user who signed in with a login.
func (a *Authenticator) canonical(r *http.Request, login string) (identity, *refusal) {
	user, err := a.cfg.Canonical(r.Context(), login)
	if err != nil {
		return identity{}, noName(err)
	}
	return identity{user: user}, nil
}

// verify returns nil if the login is right.
func (a *Authenticator) verify(r *http.Request, user, password string) *refusal {
	source := a.cfg.Source(r)
	v := a.logins.verify(r.Context(), user, password, source)
	a.cfg.Observe(Attempt{Result: v.result, Source: source, Err: v.err})
	switch v.result {
	case Accepted, Known:
		return nil
	case Throttled:
		return tooMany(v.wait)
	case Wrong:
		return wrongLogin
	default:
		return notNow(v.wait)
	}
}
