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

// ErrWrong is what a check of a login fails with when the mail server says no
// to the user name or the password. Every other error means that it could not
// be asked.
var ErrWrong = errors.New("wrong user name or password")

// Result is what became of a login that somebody showed.
type Result string

// The results. They are metric labels.
const (
	// Accepted: the mail server says that it is right.
	Accepted Result = "accepted"
	// Known: the same login was accepted within the last minutes, from the
	// same source.
	Known Result = "known"
	// Wrong: the mail server says that it is wrong, or nobody can have it.
	Wrong Result = "wrong"
	// Throttled: too many wrong ones came for this account or from this
	// source.
	Throttled Result = "throttled"
	// Busy: too many logins are being checked.
	Busy Result = "busy"
	// Unavailable: the mail server could not be asked.
	Unavailable Result = "unavailable"
)

// Bounds of the checks.
const (
	// knownFor is how long a right login is not checked again. So long a
	// password that was changed goes on to be accepted.
	knownFor   = 5 * time.Minute
	maxKnown   = 8192
	trustedFor = 30 * 24 * time.Hour

	// checkTimeout is longer than Dovecot keeps a wrong login waiting.
	checkTimeout = 20 * time.Second

	// busyAgain is when somebody may come again who could not be served.
	busyAgain = 5 * time.Second

	// maxPassword is in bytes.
	maxPassword = 1024
)

var (
	// bySource and byAccount are how many wrong logins come from a source or
	// for an account before they are no longer looked at. Who has signed in
	// from a source before is not hindered by what others do to his account.
	bySource  = throttle.Limit{Burst: 10, Interval: 2 * time.Second, Keys: 4096}
	byAccount = throttle.Limit{Burst: 10, Interval: 10 * time.Second, Keys: 4096}

	// checking bounds the connections to the mail server, and who waits for
	// one. Of one source there are fewer at once than it has attempts: as long
	// as they are right, no number of people behind it is too many.
	checking = admission.Limits{
		AtOnce: 16, Kept: 4, AtOnceOfSource: 8, Waiting: 64, OfSource: 24, Patience: 5 * time.Second,
	}
)

// logins checks logins: each right one once in a while, and the wrong ones
// only so often. It bounds what strangers can make it, and the mail server, do.
type logins struct {
	check    func(ctx context.Context, user, password string) error
	accepted func(ctx context.Context, user, password string) // or nil
	telling  chan struct{}                                    // bounds its calls

	known    *authcache.Cache // user, password and source
	trusted  *authcache.Cache // user and source
	sources  *throttle.Throttle[netip.Addr]
	accounts *throttle.Throttle[string]

	checking *admission.Room
	tarpit   tarpit
}

func newLogins(check func(ctx context.Context, user, password string) error, accepted func(ctx context.Context, user, password string)) *logins {
	return &logins{
		check:    check,
		accepted: accepted,
		telling:  make(chan struct{}, checking.AtOnce),
		known:    authcache.New(maxKnown, knownFor),
		trusted:  authcache.New(maxKnown, trustedFor),
		sources:  throttle.New[netip.Addr](bySource),
		accounts: throttle.New[string](byAccount),
		checking: admission.New(checking),
	}
}

// verdict is what [logins.verify] has to say.
type verdict struct {
	result Result
	// wait is when to come again, with Throttled, Busy and Unavailable.
	wait time.Duration
	// err is why the mail server could not be asked, with Unavailable.
	err error
}

// verify tells whether password is that of user, who came from source.
func (l *logins) verify(ctx context.Context, user, password string, source netip.Addr) verdict {
	v := l.judge(ctx, user, password, throttle.Source(source))
	if v.result == Accepted && l.accepted != nil {
		l.tell(ctx, user, password)
	}
	if v.wait > 0 {
		l.tarpit.wait(ctx)
	}
	return v
}

// tell tells of a right login when the place of its check is somebody else's.
func (l *logins) tell(ctx context.Context, user, password string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	select {
	case l.telling <- struct{}{}:
	case <-ctx.Done(): // the next time
		return
	}
	defer func() { <-l.telling }()
	l.accepted(ctx, user, password)
}

func (l *logins) judge(ctx context.Context, user, password string, source netip.Addr) verdict {
	if !plausible(user, password) {
		if wait := l.sources.Count(source); wait > 0 {
			return verdict{result: Throttled, wait: wait}
		}
		return verdict{result: Wrong}
	}
	// What is known is answered also while the source is throttled, so it must
	// say nothing about anybody who has not signed in from there: to others the
	// answer would tell a right guess from a wrong one.
	// However it is written, it is one account to those who guess.
	account := username.Fold(user)
	login, visitor := l.known.Key(user, password, source.String()), l.trusted.Key(account, source.String())
	if l.known.Has(login) {
		return verdict{result: Known}
	}
	if wait := l.wait(account, source, visitor); wait > 0 {
		return verdict{result: Throttled, wait: wait}
	}
	if !l.checking.Acquire(ctx, source, l.rank(account, source, visitor)) {
		return verdict{result: Busy, wait: busyAgain}
	}
	defer l.checking.Release(source)
	// While this one waited, others were checked.
	if l.known.Has(login) {
		return verdict{result: Known}
	}
	giveBack, wait := l.count(account, source, visitor)
	if wait > 0 {
		return verdict{result: Throttled, wait: wait}
	}
	// Whoever hangs up does not take back what he showed.
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
		return verdict{result: Unavailable, wait: busyAgain, err: err}
	}
}

// count counts a wrong login before it is known to be one: those that are under
// way must not let others through. giveBack is for one that was not wrong.
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

// wait is how long somebody has to wait, also if nothing is under way.
func (l *logins) wait(account string, source netip.Addr, visitor authcache.Key) time.Duration {
	wait := l.sources.Wait(source)
	if !l.trusted.Has(visitor) {
		wait = max(wait, l.accounts.Wait(account))
	}
	return wait
}

// rank is in which order logins are checked.
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

// plausible tells whether a mail server could know this login at all.
func plausible(user, password string) bool {
	return username.Valid(user) == nil &&
		password != "" && len(password) <= maxPassword && !strings.ContainsAny(password, "\x00\r\n")
}
