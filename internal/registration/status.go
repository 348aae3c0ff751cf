// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// Registration is how it stands with a user.
type Registration struct {
	User  string
	State State
	// Reason, in a word, and Err tell why a user is not registered.
	Reason Reason
	Err    error
	// Since is when the state began.
	Since time.Time
	// ByHand is what an operator decided: "registered", "unregistered" or
	// nothing.
	ByHand string
	// Subscribed tells that the user has subscriptions, Until when the
	// registration ends after the last one.
	Subscribed bool
	Until      time.Time
}

func (r *Reconciler) registration(user string, rec record, err error) Registration {
	reason := rec.Reason
	if err != nil && reason == "" {
		reason = classOf(err).reason
	}
	return Registration{
		User: user, State: rec.State, Reason: reason, Err: err, Since: rec.Since,
		ByHand: rec.ByHand, Subscribed: rec.Subscribed, Until: rec.Until,
	}
}

// Registration returns how it stands with the user with a login, as far as is
// known. A user about whom nothing is known is unregistered.
func (r *Reconciler) Registration(ctx context.Context, login string) (Registration, error) {
	user, err := r.name(ctx, login)
	if err != nil {
		return Registration{User: login}, err
	}
	rec, _, err := r.load(ctx, user)
	return r.registration(user, rec, nil), err
}

// Value asks Dovecot for the entry of a user, by the canonical name. isOurs tells
// whether it was set here.
func (r *Reconciler) Value(ctx context.Context, user string) (value string, ours bool, err error) {
	value, err = r.cfg.Registrar.Get(ctx, user)
	return value, isOurs(value), err
}

// Registrations returns all users about whom something is known, in no
// order.
func (r *Reconciler) Registrations(ctx context.Context) iter.Seq2[Registration, error] {
	return func(yield func(Registration, error) bool) {
		for entry, err := range r.cfg.Table.All(ctx, allUsers) {
			if err != nil {
				yield(Registration{}, storeError(err))
				return
			}
			if !yield(r.registration(entry.Key[1], r.parse(entry), nil), nil) {
				return
			}
		}
	}
}

// Status is how it stands with registration as a whole.
type Status struct {
	Policy Policy
	// Trouble is what keeps all users from being registered, in a word, and Err
	// tells more. It is empty if nothing does.
	Trouble Reason
	Err     error
	// Pass is the pass that runs, or the last one; nil before the first.
	Pass *Pass
}

// Status returns how it stands.
func (r *Reconciler) Status() Status {
	s := Status{Policy: r.cfg.Policy}
	s.Trouble, s.Err = r.trouble.now()
	if err := r.cannotList.Load(); err != nil && s.Trouble == "" {
		s.Trouble, s.Err = ReasonCannotList, *err
	}
	if p := r.progress.Load(); p != nil {
		pass := p.snapshot()
		s.Pass = &pass
	}
	return s
}

// RegisterMany does what Register does for many users, with fewer requests, and
// calls report for each, from one goroutine at a time. With no users it is all
// that Dovecot lists. It ends early, with the reason, if going on is of no use.
func (r *Reconciler) RegisterMany(ctx context.Context, users []string, takeover bool, total func(int), report func(Registration)) error {
	return r.decideMany(ctx, users, byHandRegistered, takeover, total, report)
}

// UnregisterMany does the same with Unregister. With no users it is all about
// whom something is known.
func (r *Reconciler) UnregisterMany(ctx context.Context, users []string, total func(int), report func(Registration)) error {
	return r.decideMany(ctx, users, byHandUnregistered, false, total, report)
}

func (r *Reconciler) decideMany(
	ctx context.Context, logins []string, decision string, takeover bool, total func(int), report func(Registration),
) error {
	all := len(logins) == 0
	var listing, refused []string
	var err error
	if decision == byHandRegistered && all || len(logins) >= listFrom {
		if listing, refused, err = r.list(ctx); err != nil && all {
			return err
		}
	}
	var users []string
	switch {
	case all && decision == byHandRegistered:
		users = slices.Clone(listing)
	case all:
		refused = nil
		for reg, err := range r.Registrations(ctx) {
			if err != nil {
				return err
			}
			users = append(users, reg.User)
		}
	default:
		users, refused = r.names(ctx, logins, listing)
	}
	slices.Sort(users)
	users = slices.Compact(users)
	total(len(users) + len(refused))
	for _, login := range refused {
		report(Registration{User: login, State: Unregistered, Reason: ReasonName, Err: fmt.Errorf("%w: %w", ErrName, username.Valid(login))})
	}
	for _, user := range users {
		if err := r.update(ctx, user, func(rec *record) { r.decideRecord(rec, decision) }); err != nil {
			return err
		}
	}
	records, err := r.records(ctx)
	if err != nil {
		return err
	}
	left := len(users)
	s := sweep{
		r: r, records: records, takeover: takeover || r.cfg.Takeover,
		report: func(user string, rec record, err error) {
			left--
			if all && decision == byHandUnregistered && errors.Is(err, ErrUnknownUser) {
				err = nil // nobody named a user who does not exist
			}
			report(r.registration(user, rec, err))
		},
	}
	err = s.run(ctx, users, listing)
	if err != nil && ctx.Err() == nil {
		r.passNow() // it is attempted further on until Dovecot can be asked
		return fmt.Errorf("%d of %d users are left, which are attempted further on: %w", left, len(users), err)
	}
	return err
}

// names returns the canonical names of logins. Those that Dovecot lists in this
// spelling are.
func (r *Reconciler) names(ctx context.Context, logins, listing []string) (users, refused []string) {
	for _, login := range logins {
		user := login
		if _, listed := slices.BinarySearch(listing, login); !listed {
			var err error
			if user, err = r.name(ctx, login); err != nil {
				refused = append(refused, login)
				continue
			}
		}
		users = append(users, user)
	}
	return users, refused
}
