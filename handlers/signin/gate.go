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

// Config tells a [Gate] whom to believe.
type Config struct {
	// External returns the user that something before the gate has
	// authenticated the request for, or "" if it has not. If it is set, nothing
	// else counts.
	External func(*http.Request) string

	// Canonical returns the name that Dovecot has for the user with a login that
	// was found right, or that External returned. It fails with a
	// [*username.Error] for what cannot be the name of a user. Default: the
	// login in lower case.
	Canonical func(ctx context.Context, login string) (string, error)

	// Unknown, if set, reports whether Dovecot says that it has no user of the
	// name that Canonical returned. They can sign in, and are told so.
	Unknown func(ctx context.Context, user string) bool

	// Check asks the mail server. It returns nil if the password is that of
	// the user, [ErrWrong] if it is not, or why that cannot be told.
	Check func(ctx context.Context, user, password string) error
	// Accepted, if set, is told of a login that Check has just found right, in
	// the way of whoever showed it and of nobody else. It is called as often at
	// once as Check.
	Accepted func(ctx context.Context, user, password string)
	// Key returns what session cookies are signed with: 32 bytes or more that
	// nobody can guess, the same after a restart and on each Caddy of a
	// cluster. It is called for each request that has a cookie.
	Key func(context.Context) ([]byte, error)
	// Revoked tells whether a session was ended, and Revoke ends one for good;
	// after until, when it has expired anyway, that can be forgotten. See
	// [Revocations].
	Revoked func(ctx context.Context, s Session) (bool, error)
	Revoke  func(ctx context.Context, s Session, until time.Time) error
	// Audience is what the cookies are for. Gates with another one take none
	// of them.
	Audience string

	// Source returns where a request comes from, which counts for how many
	// wrong logins may come from there.
	Source func(*http.Request) netip.Addr
	// Observe, if set, is told of every login that was shown.
	Observe func(Attempt)
}

// Attempt is one login that somebody showed.
type Attempt struct {
	Result Result
	Source netip.Addr
	// Err is why the mail server could not be asked, with [Unavailable].
	Err error
}

// sessionsOfUser is how many sessions a user may begin. To end one is a durable
// write.
var sessionsOfUser = throttle.Limit{Burst: 20, Interval: time.Minute, Keys: 4096}

// Gate finds out who is asking. It is safe for concurrent use.
type Gate struct {
	cfg    Config
	cookie string
	logins *logins
	begun  *throttle.Throttle[string] // sessions, by user
}

// New returns a gate.
func New(cfg Config) *Gate {
	if cfg.Observe == nil {
		cfg.Observe = func(Attempt) {}
	}
	if cfg.Unknown == nil {
		cfg.Unknown = func(context.Context, string) bool { return false }
	}
	if cfg.Canonical == nil {
		cfg.Canonical = new(username.Names).Canonical
	}
	return &Gate{cfg: cfg, cookie: cookieName(cfg.Audience), logins: newLogins(cfg.Check, cfg.Accepted), begun: throttle.New[string](sessionsOfUser)}
}

// Require hands requests of which it knows the user to next, with the user in
// their context, and answers all others with 401, 429 or 503.
func (g *Gate) Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, refusal := g.identify(r)
		if refusal != nil {
			refusal.write(w, r)
			return
		}
		if who.session != nil {
			g.renew(w, r, who.session)
		}
		ctx := WithUser(r.Context(), who.user)
		if s := who.session; s != nil {
			// The request may be over when it is asked.
			ctx = withValid(ctx, func() bool { return g.holds(context.Background(), s) == nil })
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// identity is who is asking. session is nil unless a cookie says so.
type identity struct {
	user    string
	session *session
}

func (g *Gate) identify(r *http.Request) (identity, *refusal) {
	if g.cfg.External != nil {
		login := g.cfg.External(r)
		if login == "" {
			return identity{}, notSignedIn
		}
		return g.known(r, login)
	}
	if r.Header.Get("Authorization") != "" {
		return g.basic(r)
	}
	s, err := g.session(r)
	switch {
	case err == nil:
		return identity{user: s.user, session: s}, nil
	case errors.Is(err, errNoSession):
		return identity{}, notSignedIn
	case errors.Is(err, errToken):
		return identity{}, signedOut
	default:
		return identity{}, notNow(busyAgain)
	}
}

// basic judges the login in the request itself.
func (g *Gate) basic(r *http.Request) (identity, *refusal) {
	user, password, ok := r.BasicAuth()
	if !ok {
		return identity{}, notSignedIn
	}
	if refusal := g.verify(r, user, password); refusal != nil {
		return identity{}, refusal
	}
	return g.known(r, user)
}

// known returns who it is that signed in with a login.
func (g *Gate) known(r *http.Request, login string) (identity, *refusal) {
	user, err := g.cfg.Canonical(r.Context(), login)
	if err != nil {
		return identity{}, noName(err)
	}
	return identity{user: user}, nil
}

// verify returns nil for a right login.
func (g *Gate) verify(r *http.Request, user, password string) *refusal {
	source := g.cfg.Source(r)
	v := g.logins.verify(r.Context(), user, password, source)
	g.cfg.Observe(Attempt{Result: v.result, Source: source, Err: v.err})
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
