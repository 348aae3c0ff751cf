// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"time"
)

// request asks to reconcile one user.
type request struct {
	// registrar is the reconciler's own, or one with the user's login.
	registrar Registrar
	// observed, if not nil, is what was read of the user a moment ago.
	observed *observed
	// takeover overwrites a value that something else has set.
	takeover bool
}

// observed is what a bulk operation has already read of a user.
type observed struct {
	value    string // of the entry
	revision uint64 // of the record
	listed   bool   // Dovecot listed the user
}

// reconcile makes the entry of a user equal to the desired state, and returns
// the resulting record. The error says why that failed; the record is valid
// nevertheless.
func (r *Reconciler) reconcile(ctx context.Context, user string, l request) (record, error) {
	unlock, err := r.busy.lock(ctx, user)
	if err != nil {
		return record{}, err
	}
	rec, report, err := r.reconcileLocked(ctx, user, l)
	unlock()
	if report { // after unlocking: the observer may change the user at once
		r.observe(Event{State: rec.State, User: user, Reason: rec.Reason, Err: err})
	}
	return rec, err
}

// reconcileLocked is reconcile while the user is locked. report is whether it
// is worth an event.
func (r *Reconciler) reconcileLocked(ctx context.Context, user string, l request) (_ record, report bool, _ error) {
	value, known, changed := "", false, false // of the entry
	for {
		rec, revision, err := r.load(ctx, user)
		if err != nil {
			return rec, false, err
		}
		before := rec
		if l.observed != nil && l.observed.revision == revision && !known {
			value, known = l.observed.value, true
		}
		if l.observed != nil && l.observed.listed && rec.State == UnknownUser {
			rec.setState(Wanted, "")
		}
		now := time.Now()
		wanted := rec.wanted(r.cfg.Policy, now)
		did, failure := r.apply(ctx, user, l, wanted, &value, &known)
		if ctx.Err() != nil {
			return before, false, ctx.Err()
		}
		changed = changed || did
		rec.setResult(wanted, failure, revision == 0)
		if !now.Before(rec.Until) {
			rec.Until = time.Time{} // otherwise the user would be due again at once, without end
		}
		if failure == nil && r.cfg.Policy == Off && rec.ByHand == byHandUnregistered {
			rec.ByHand = "" // it was kept only for further attempts
		}
		if rec != before {
			err := r.save(ctx, user, rec, revision)
			if changedMeanwhile(err) {
				continue // the desired state has changed in the meantime
			}
			if err != nil {
				return rec, false, err
			}
		}
		return rec, changed || failure != nil && (rec.State != before.State || rec.Reason != before.Reason), failure
	}
}

func (r *Reconciler) observe(e Event) {
	switch e.State {
	case Registered:
		r.registered.Add(1)
	case Unregistered:
		r.unregistered.Add(1)
	default:
	}
	r.cfg.Observe(e)
}

// apply compares the desired state with the entry, and changes the entry if
// necessary. value is that of the entry if it is known, also after a change.
func (r *Reconciler) apply(
	ctx context.Context, user string, l request, wanted bool, value *string, known *bool,
) (changed bool, err error) {
	want := ""
	if wanted {
		if want, err = r.cfg.Value.value(user); err != nil {
			return false, err
		}
	}
	if !*known {
		if err := r.limit.Wait(ctx); err != nil {
			return false, err
		}
		*value, err = l.registrar.Get(ctx, user)
		if !wanted && errors.Is(err, ErrName) {
			return false, nil // so it was never set
		}
		if err != nil {
			return false, err
		}
		*known = true
	}
	switch got := *value; {
	case got == want:
		return false, nil
	case got != "" && !isOurs(got) && !wanted:
		return false, nil // something else has set it
	case got != "" && !isOurs(got) && !l.takeover:
		return false, ErrConflict
	}
	if namesake, err := r.heldByAnother(ctx, user, *value); namesake || err != nil {
		return false, err
	}
	if err := r.limit.Wait(ctx); err != nil {
		return false, err
	}
	*known = false // until the change has succeeded
	if wanted {
		err = l.registrar.Set(ctx, user, want)
	} else {
		err = l.registrar.Unset(ctx, user)
	}
	if err != nil {
		return false, err
	}
	*value, *known = want, true
	return true, nil
}

// heldByAnother reports whether a value is that of another registered user:
// Dovecot may know a mailbox, and thus its entry, by several names. As long as
// one of them holds the entry, it serves all.
func (r *Reconciler) heldByAnother(ctx context.Context, user, value string) (bool, error) {
	other, err := r.cfg.Canonical(ctx, userOf(value))
	if err != nil || other == user {
		return false, nil
	}
	rec, revision, err := r.load(ctx, other)
	if err != nil || revision == 0 || rec.State != Registered || !rec.wanted(r.cfg.Policy, time.Now()) {
		return false, err
	}
	theirs, err := r.cfg.Value.value(other)
	return err == nil && theirs == value, nil
}

// setResult changes the record after an attempt.
func (rec *record) setResult(wanted bool, failure error, isNew bool) {
	c := classOf(failure)
	switch reason := c.reason; {
	case failure == nil && wanted:
		rec.setState(Registered, "")
	case failure == nil:
		rec.setState(Unregistered, "")
		rec.SignedIn = false
	case errors.Is(failure, ErrConflict):
		rec.setState(Conflict, ReasonForeign)
	case reason == ReasonUnknownUser:
		named := rec.ByHand == byHandRegistered || rec.Subscribed || rec.SignedIn || !rec.Until.IsZero()
		*rec = record{State: rec.State, Reason: rec.Reason, Since: rec.Since}
		if named {
			rec.setState(UnknownUser, ReasonUnknownUser)
		} else if rec.State != UnknownUser {
			rec.setState(Unregistered, "") // an account that was closed
		}
	case reason == ReasonName && rec.ByHand == byHandRegistered && !rec.Subscribed && !rec.SignedIn:
		// What an operator asked for by mistake is not kept.
		*rec = record{State: rec.State, Reason: rec.Reason, Since: rec.Since}
		rec.setState(Unregistered, "")
	case c.scope == ofAll && isNew:
		// It says nothing about the user.
	case reason == ReasonNeedsLogin && rec.State == Registered:
		// It cannot be looked at, and need not be.
	case reason == ReasonNeedsLogin && wanted:
		rec.setState(Wanted, reason)
	case reason == ReasonNeedsLogin:
		rec.setState(Unregistered, "")
	default:
		rec.setState(Failed, reason)
	}
}
