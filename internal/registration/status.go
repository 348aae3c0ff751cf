// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"
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
	return Registration{
		User: user, State: rec.State, Reason: rec.Reason, Err: err, Since: rec.Since,
		ByHand: rec.ByHand, Subscribed: rec.Subscribed, Until: rec.Until,
	}
}

// Registration returns how it stands with a user, as far as is known. A user
// about whom nothing is known is unregistered.
func (r *Reconciler) Registration(ctx context.Context, user string) (Registration, error) {
	rec, _, err := r.load(ctx, user)
	return r.registration(user, rec, nil), err
}

// Value asks Dovecot for a user's entry. isOurs tells whether it was set here.
func (r *Reconciler) Value(ctx context.Context, user string) (value string, ours bool, err error) {
	value, err = r.cfg.Registrar.Get(ctx, user)
	return value, isOurs(value), err
}

// Registrations returns all users about whom something is known, in no
// order.
func (r *Reconciler) Registrations(ctx context.Context) iter.Seq2[Registration, error] {
	return func(yield func(Registration, error) bool) {
		for entry, err := range r.cfg.Table.All(ctx, allUsers) {
			if err == nil {
				var rec record
				if rec, err = parse(entry); err == nil {
					if !yield(r.registration(entry.Key[1], rec, nil), nil) {
						return
					}
					continue
				}
			}
			yield(Registration{}, err)
			return
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
	ctx context.Context, users []string, decision string, takeover bool, total func(int), report func(Registration),
) error {
	all := len(users) == 0
	var listing []string
	var err error
	if decision == byHandRegistered && all || len(users) >= listFrom {
		if listing, err = r.list(ctx); err != nil && all {
			return err
		}
	}
	users = slices.Compact(slices.Sorted(slices.Values(users)))
	switch {
	case all && decision == byHandRegistered:
		users = listing
	case all:
		for reg, err := range r.Registrations(ctx) {
			if err != nil {
				return err
			}
			users = append(users, reg.User)
		}
		slices.Sort(users)
	}
	total(len(users))
	for _, user := range users {
		if err := r.update(ctx, user, func(rec *record) { r.decideRecord(rec, decision) }); err != nil {
			return err
		}
	}
	records, err := r.records(ctx)
	if err != nil {
		return err
	}
	s := sweep{
		r: r, records: records, takeover: takeover || r.cfg.Takeover,
		report: func(user string, rec record, err error) {
			if all && decision == byHandUnregistered && errors.Is(err, ErrUnknownUser) {
				err = nil // nobody named a user who does not exist
			}
			report(r.registration(user, rec, err))
		},
	}
	return s.run(ctx, users, listing)
}
