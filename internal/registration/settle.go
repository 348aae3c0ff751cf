// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"time"
)

// look is one look at one user.
type look struct {
	// registrar is the reconciler's own, or one with the user's login.
	registrar Registrar
	// seen, if not nil, is what was read of the user a moment ago.
	seen *glimpse
	// takeover overwrites the value of somebody else.
	takeover bool
}

// glimpse is what a sweep read before it came to a user.
type glimpse struct {
	value    string // of the entry
	revision uint64 // of the record
	listed   bool   // Dovecot listed the user
}

// settle makes the entry of a user what it should be, and returns the record
// that tells how it stands then. The error tells why it is not as it should
// be; the record is valid nevertheless.
func (r *Reconciler) settle(ctx context.Context, user string, l look) (record, error) {
	unlock, err := r.busy.lock(ctx, user)
	if err != nil {
		return record{}, err
	}
	rec, tell, err := r.settleLocked(ctx, user, l)
	unlock()
	if tell { // whoever listens may want something else with the user at once
		r.observe(Event{State: rec.State, User: user, Reason: rec.Reason, Err: err})
	}
	return rec, err
}

// settleLocked does it while nobody else does anything about the user. tell
// is whether it is worth an event.
func (r *Reconciler) settleLocked(ctx context.Context, user string, l look) (_ record, tell bool, _ error) {
	value, known, changed := "", false, false // of the entry
	for {
		rec, revision, err := r.load(ctx, user)
		if err != nil {
			return rec, false, err
		}
		before := rec
		if l.seen != nil && l.seen.revision == revision && !known {
			value, known = l.seen.value, true
		}
		if l.seen != nil && l.seen.listed && rec.State == UnknownUser {
			rec.become(Wanted, "")
		}
		wanted := rec.wanted(r.cfg.Policy, time.Now())
		did, failure := r.reconcile(ctx, user, l, wanted, &value, &known)
		if ctx.Err() != nil {
			return before, false, ctx.Err()
		}
		changed = changed || did
		rec.note(wanted, failure, revision == 0)
		if failure == nil && r.cfg.Policy == Off && rec.ByHand == byHandUnregistered {
			rec.ByHand = "" // it was kept for further attempts
		}
		if rec != before {
			err := r.save(ctx, user, rec, revision)
			if changedMeanwhile(err) {
				continue // somebody wished something else meanwhile
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

// reconcile compares what is wanted with the entry, and changes the entry if
// need be. value is that of the entry if it is known, and is so after a change.
func (r *Reconciler) reconcile(
	ctx context.Context, user string, l look, wanted bool, value *string, known *bool,
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
			return false, nil // so nothing was ever set
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
		return false, nil // none of our business
	case got != "" && !isOurs(got) && !l.takeover:
		return false, ErrConflict
	}
	if namesake, err := r.holds(ctx, user, *value); namesake || err != nil {
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

// holds tells whether a value is the one of another user who is registered:
// Dovecot may know a mailbox, and so its entry, by several names. As long as
// one of them holds the entry, it serves all.
func (r *Reconciler) holds(ctx context.Context, user, value string) (bool, error) {
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

// note changes the record after an attempt.
func (rec *record) note(wanted bool, failure error, isNew bool) {
	c := classOf(failure)
	switch reason := c.reason; {
	case failure == nil && wanted:
		rec.become(Registered, "")
	case failure == nil:
		rec.become(Unregistered, "")
		rec.SignedIn = false
		if !rec.Until.IsZero() && time.Now().After(rec.Until) {
			rec.Until = time.Time{}
		}
	case errors.Is(failure, ErrConflict):
		rec.become(Conflict, ReasonForeign)
	case reason == ReasonUnknownUser:
		named := rec.ByHand == byHandRegistered || rec.Subscribed || rec.SignedIn || !rec.Until.IsZero()
		*rec = record{State: rec.State, Reason: rec.Reason, Since: rec.Since}
		if named {
			rec.become(UnknownUser, ReasonUnknownUser)
		} else if rec.State != UnknownUser {
			rec.become(Unregistered, "") // an account that was closed
		}
	case reason == ReasonName && rec.ByHand == byHandRegistered && !rec.Subscribed && !rec.SignedIn:
		// What an operator asked for by mistake is not kept.
		*rec = record{State: rec.State, Reason: rec.Reason, Since: rec.Since}
		rec.become(Unregistered, "")
	case c.scope == ofAll && isNew:
		// It says nothing about the user.
	case reason == ReasonNeedsLogin && rec.State == Registered:
		// It cannot be looked at, and need not be.
	case reason == ReasonNeedsLogin && wanted:
		rec.become(Wanted, reason)
	case reason == ReasonNeedsLogin:
		rec.become(Unregistered, "")
	default:
		rec.become(Failed, reason)
	}
}
