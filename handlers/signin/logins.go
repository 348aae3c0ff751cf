// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/admission"
	"github.com/dovecotpush/caddy-dovecot-push/internal/authcache"
	"github.com/dovecotpush/caddy-dovecot-push/internal/throttle"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// ErrWrong means that the mail server rejects the user name or the password.
// Any other error of a check means that the server could not be asked.
var ErrWrong = errors.New("wrong user name or password")

// Result is the result of a login attempt.
type Result string

// The results. They are metric labels.
const (
	// Accepted: the mail server accepts it.
	Accepted Result = "accepted"
	// Known: the same login was accepted within the last minutes, from the
	// same source.
	Known Result = "known"
	// Wrong: the mail server rejects it, or it cannot be a login at all.
	Wrong Result = "wrong"
	// Throttled: there were too many wrong logins for this account or from this
	// source.
	Throttled Result = "throttled"
	// Busy: too many logins are being checked.
	Busy Result = "busy"
	// Unavailable: the mail server could not be asked.
	Unavailable Result = "unavailable"
)

// Bounds of the checks.
const (
	// knownFor is how long a right login is not checked again. A changed
	// password is still accepted for that long.
	knownFor   = 5 * time.Minute
	maxKnown   = 8192
	trustedFor = 30 * 24 * time.Hour

	// checkTimeout is longer than Dovecot delays the answer to a wrong login.
	checkTimeout = 20 * time.Second

	// busyRetryAfter is the Retry-After of requests that could not be served.
	busyRetryAfter = 5 * time.Second

	// maxPassword is in bytes.
	maxPassword = 1024
)

var (
	// bySource and byAccount limit how many wrong logins are checked from a
	// source and for an account. Users who have signed in from a source before
	// are not affected by what others do to their account.
	bySource  = throttle.Limit{Burst: 10, Interval: 2 * time.Second, Keys: 4096}
	byAccount = throttle.Limit{Burst: 10, Interval: 10 * time.Second, Keys: 4096}

	// checking bounds the connections to the mail server and the requests that
	// wait for one. One source gets fewer concurrent checks than it has
	// attempts: as long as their logins are right, any number of people may
	// share a source.
	checking = admission.Limits{
		Concurrent: 16, Reserved: 4, ConcurrentPerSource: 8, Waiting: 64, PerSource: 24, MaxWait: 5 * time.Second,
	}
)

// logins checks logins: right ones once in a while, wrong ones at a limited
// rate. It bounds the work that strangers can cause, here and at the mail
// server.
type logins struct {
	check     func(ctx context.Context, user, password string) error
	accepted  func(ctx context.Context, user, password string) // or nil
	notifying chan struct{}                                    // bounds its calls

	known    *authcache.Cache // user, password and source
	trusted  *authcache.Cache // user and source
	sources  *throttle.Throttle[netip.Addr]
	accounts *throttle.Throttle[string]

	checking *admission.Room
	tarpit   tarpit
}

func newLogins(check func(ctx context.Context, user, password string) error, accepted func(ctx context.Context, user, password string)) *logins {
	return &logins{
		check:     check,
		accepted:  accepted,
		notifying: make(chan struct{}, checking.Concurrent),
		known:     authcache.New(maxKnown, knownFor),
		trusted:   authcache.New(maxKnown, trustedFor),
		sources:   throttle.New[netip.Addr](bySource),
		accounts:  throttle.New[string](byAccount),
		checking:  admission.New(checking),
	}
}

// verdict is the result of [logins.verify].
type verdict struct {
	result Result
	// wait is how long to wait before another attempt, with Throttled, Busy and
	// Unavailable.
	wait time.Duration
	// err is why the mail server could not be asked, with Unavailable.
	err error
}

// verify checks the login of a user whose request came from source.
func (l *logins) verify(ctx context.Context, user, password string, source netip.Addr) verdict {
	v := l.judge(ctx, user, password, throttle.Source(source))
	if v.result == Accepted && l.accepted != nil {
		l.notifyAccepted(ctx, user, password)
	}
	if v.wait > 0 {
		l.tarpit.wait(ctx)
	}
	return v
}

// notifyAccepted calls accepted after the place of the check has been released.
func (l *logins) notifyAccepted(ctx context.Context, user, password string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	select {
	case l.notifying <- struct{}{}:
	case <-ctx.Done(): // at the next login
		return
	}
	defer func() { <-l.notifying }()
	l.accepted(ctx, user, password)
}

func (l *logins) judge(ctx context.Context, user, password string, source netip.Addr) verdict {
	if !plausible(user, password) {
		if wait := l.sources.Count(source); wait > 0 {
			return verdict{result: Throttled, wait: wait}
		}
		return verdict{result: Wrong}
	}
	// Known logins are accepted even while the source is throttled. The key
	// includes the source: otherwise the answer would tell guessers from
	// elsewhere a right password from a wrong one. All spellings of a name are
	// one account for the throttle.
	account := username.Fold(user)
	login, visitor := l.known.Key(user, password, source.String()), l.trusted.Key(account, source.String())
	if l.known.Has(login) {
		return verdict{result: Known}
	}
	if wait := l.wait(account, source, visitor); wait > 0 {
		return verdict{result: Throttled, wait: wait}
	}
	if !l.checking.Acquire(ctx, source, l.rank(account, source, visitor)) {
		return verdict{result: Busy, wait: busyRetryAfter}
	}
	defer l.checking.Release(source)
	// Another request may have checked it while this one waited.
	if l.known.Has(login) {
		return verdict{result: Known}
	}
	giveBack, wait := l.count(account, source, visitor)
	if wait > 0 {
		return verdict{result: Throttled, wait: wait}
	}
	// A client that hangs up does not undo its attempt.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	switch err := l.check(ctx, user, password); {
	case err == nil:
		giveBack()
		l.known.Add(login)
		l.trusted.Add(visitor)
		return verdict{result: Accepted}
	case errors.Is(err, ErrWrong):
		return verdict{result: Wrong}
	default:
		giveBack()
		return verdict{result: Unavailable, wait: busyRetryAfter, err: err}
	}
}

// count counts a login as wrong before it is checked, so that concurrent checks
// cannot exceed the limit. giveBack undoes that for a login that was not wrong.
func (l *logins) count(account string, source netip.Addr, visitor authcache.Key) (giveBack func(), wait time.Duration) {
	if wait := l.sources.Count(source); wait > 0 {
		return nil, wait
	}
	if wait := l.accounts.Count(account); wait > 0 {
		if l.trusted.Has(visitor) {
			return func() { l.sources.Return(source) }, 0
		}
		l.sources.Return(source)
		return nil, wait
	}
	return func() {
		l.sources.Return(source)
		l.accounts.Return(account)
	}, 0
}

// wait returns how long the login has to wait for the throttles.
func (l *logins) wait(account string, source netip.Addr, visitor authcache.Key) time.Duration {
	wait := l.sources.Wait(source)
	if !l.trusted.Has(visitor) {
		wait = max(wait, l.accounts.Wait(account))
	}
	return wait
}

// rank returns the rank of a login in the queue for a check.
func (l *logins) rank(account string, source netip.Addr, visitor authcache.Key) admission.Rank {
	switch {
	case l.trusted.Has(visitor):
		return admission.Known
	case l.sources.Quiet(source) && l.accounts.Quiet(account):
		return admission.Fresh
	default:
		return admission.Suspect
	}
}

// plausible reports whether a mail server could know this login at all.
func plausible(user, password string) bool {
	return username.Valid(user) == nil &&
		password != "" && len(password) <= maxPassword && !strings.ContainsAny(password, "\x00\r\n")
}
