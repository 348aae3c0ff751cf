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

// Registration is the state of a user's registration.
type Registration struct {
	User  string
	State State
	// Reason, in a word, and Err say why a user is not registered.
	Reason Reason
	Err    error
	// Since is when the state began.
	Since time.Time
	// ByHand is an operator's decision: "registered", "unregistered" or empty.
	ByHand string
	// Subscribed is whether the user has subscriptions. Until is when the
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

// Registration returns the stored state of the user with a login. A user
// without one is unregistered.
func (r *Reconciler) Registration(ctx context.Context, login string) (Registration, error) {
	user, err := r.name(ctx, login)
	if err != nil {
		return Registration{User: login}, err
	}
	rec, _, err := r.load(ctx, user)
	return r.registration(user, rec, nil), err
}

// Value asks Dovecot for the entry of a user, given by the canonical name. ours
// is whether it was set by a Reconciler.
func (r *Reconciler) Value(ctx context.Context, user string) (value string, ours bool, err error) {
	value, err = r.cfg.Registrar.Get(ctx, user)
	return value, isOurs(value), err
}

// Registrations returns all users with a stored state, in no particular order.
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

// Notified is a user whom Dovecot notifies for.
type Notified struct {
	User string
	// Names are those that Dovecot may report the user under: the user of the
	// entry, which the driver reports with user_from_metadata, and the login.
	Names []string
}

// AllNotified returns the users whose entry is set, or was set when it could be
// read last, in no order.
func (r *Reconciler) AllNotified(ctx context.Context) iter.Seq2[Notified, error] {
	return func(yield func(Notified, error) bool) {
		for reg, err := range r.Registrations(ctx) {
			if err != nil {
				yield(Notified{}, err)
				return
			}
			if !reg.isNotified() {
				continue
			}
			if !yield(r.Notified(reg.User), nil) {
				return
			}
		}
	}
}

// isNotified reports whether the entry is set, or was.
func (r *Registration) isNotified() bool {
	return r.State == Registered || r.State == Failed && r.Reason == ReasonTemporary
}

// FindNotified returns one of them by the login.
func (r *Reconciler) FindNotified(ctx context.Context, login string) (Notified, bool) {
	rec, _, err := r.load(ctx, login)
	reg := r.registration(login, rec, nil)
	if err != nil || !reg.isNotified() {
		return Notified{}, false
	}
	return r.Notified(login), true
}

// Notified returns the names that Dovecot may report a user under.
func (r *Reconciler) Notified(user string) Notified {
	n := Notified{User: user, Names: []string{user}}
	if value, err := r.cfg.Value.value(user); err == nil {
		if name := userOf(value); name != "" && name != user {
			n.Names = []string{name, user}
		}
	}
	return n
}

// List returns the logins of all users that Dovecot has, sorted, or fails with
// [ErrCannotList].
func (r *Reconciler) List(ctx context.Context) ([]string, error) {
	users, _, err := r.list(ctx)
	return users, err
}

// Status is the state of registration as a whole.
type Status struct {
	Policy Policy
	// Outage is what keeps all users from being registered, in a word, or
	// empty. Err says more.
	Outage Reason
	Err    error
	// Pass is the running pass or the last one. It is nil before the first.
	Pass *Pass
}

// Status returns the state of registration.
func (r *Reconciler) Status() Status {
	s := Status{Policy: r.cfg.Policy}
	s.Outage, s.Err = r.outage.current()
	if err := r.cannotList.Load(); err != nil && s.Outage == "" {
		s.Outage, s.Err = ReasonCannotList, *err
	}
	if p := r.progress.Load(); p != nil {
		pass := p.snapshot()
		s.Pass = &pass
	}
	return s
}

// RegisterMany is Register for many users, with fewer requests. It calls report
// for each, from one goroutine at a time. No users means all that Dovecot
// lists. It ends early, with the reason, if going on is pointless.
func (r *Reconciler) RegisterMany(ctx context.Context, users []string, takeover bool, total func(int), report func(Registration)) error {
	return r.decideMany(ctx, users, byHandRegistered, takeover, total, report)
}

// UnregisterMany is Unregister for many users. No users means all with a stored
// state.
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
	s := bulk{
		r: r, records: records, takeover: takeover || r.cfg.Takeover,
		result: func(user string, rec record, err error) {
			left--
			if all && decision == byHandUnregistered && errors.Is(err, ErrUnknownUser) {
				err = nil // nobody asked for this user by name
			}
			report(r.registration(user, rec, err))
		},
	}
	err = s.run(ctx, users, listing)
	if err != nil && ctx.Err() == nil {
		r.passNow() // attempts continue until Dovecot answers
		return fmt.Errorf("%d of %d users are left and will be retried: %w", left, len(users), err)
	}
	return err
}

// names returns the canonical names of logins. Logins that Dovecot lists with
// this spelling are canonical.
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
