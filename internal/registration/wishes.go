// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"fmt"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// Want notes that a user, by the canonical name, has subscriptions. The user is
// registered soon after it returns, and if that fails later on.
func (r *Reconciler) Want(ctx context.Context, user string) error {
	return r.wish(ctx, user, func(rec *record) {
		rec.Subscribed, rec.Until = true, time.Time{}
		if rec.State == UnknownUser || rec.State == Unregistered {
			rec.become(Wanted, "")
		}
	})
}

// Unwant notes that a user has no subscription any more. The registration ends
// after the grace time, if nothing else wants it.
func (r *Reconciler) Unwant(ctx context.Context, user string) error {
	return r.wish(ctx, user, func(rec *record) {
		if rec.Subscribed {
			rec.Subscribed = false
			rec.Until = time.Now().Add(r.cfg.Grace).UTC()
		}
	})
}

func (r *Reconciler) wish(ctx context.Context, user string, change func(*record)) error {
	if err := username.Valid(user); err != nil {
		return fmt.Errorf("%w: %w", ErrName, err)
	}
	if err := r.update(ctx, user, change); err != nil {
		return err
	}
	if !r.idle() && r.cfg.Policy != Off {
		r.due.put(user, appointment{at: time.Now()})
	}
	return nil
}

// subscribers notes who has subscriptions, where that is known to somebody
// else and was not noted.
func (r *Reconciler) subscribers(ctx context.Context) error {
	if r.cfg.Subscribers == nil || r.cfg.Policy == Off {
		return nil
	}
	// The records come first: who subscribes meanwhile is among the users only.
	records, err := r.records(ctx)
	if err != nil {
		return err
	}
	users, err := r.cfg.Subscribers(ctx)
	if err != nil {
		return fmt.Errorf("reading who has subscriptions: %w", err)
	}
	has := make(map[string]bool, len(users))
	for _, user := range users {
		has[user] = true
		if k := records[user]; !k.Subscribed && k.State != UnknownUser {
			if err := r.Want(ctx, user); err != nil && classOf(err).scope != ofUser {
				return err
			}
		}
	}
	for user, k := range records {
		if k.Subscribed && !has[user] {
			if err := r.Unwant(ctx, user); err != nil && classOf(err).scope != ofUser {
				return err
			}
		}
	}
	return nil
}

// Register notes that an operator wants the user with a login registered whatever else is
// wanted, and does it. The error is why the user is not registered now; but
// for an unknown user, further attempts follow. With takeover the value of
// somebody else is overwritten.
func (r *Reconciler) Register(ctx context.Context, user string, takeover bool) (Registration, error) {
	return r.decide(ctx, user, byHandRegistered, takeover)
}

// Unregister notes that an operator wants the user not to be registered, and
// does it. It stays so until Register where the policy or a subscription would
// register the user otherwise.
func (r *Reconciler) Unregister(ctx context.Context, user string) (Registration, error) {
	return r.decide(ctx, user, byHandUnregistered, false)
}

func (r *Reconciler) decide(ctx context.Context, login, decision string, takeover bool) (Registration, error) {
	user, err := r.name(ctx, login)
	if err != nil {
		return Registration{User: login, State: Unregistered, Reason: ReasonName, Err: err}, err
	}
	if err := r.update(ctx, user, func(rec *record) { r.decideRecord(rec, decision) }); err != nil {
		return Registration{}, err
	}
	rec, err := r.settle(ctx, user, look{registrar: r.cfg.Registrar, takeover: takeover || r.cfg.Takeover})
	if r.trouble.note(err) {
		r.passNow()
	}
	r.follow(user, rec, err, 0)
	return r.registration(user, rec, err), err
}

func (r *Reconciler) decideRecord(rec *record, decision string) {
	rec.ByHand = ""
	if decision == byHandUnregistered && rec.State == UnknownUser {
		rec.become(Unregistered, "")
	}
	if decision == byHandRegistered || r.cfg.Policy == Off || rec.wanted(r.cfg.Policy, time.Now()) {
		rec.ByHand = decision
	}
	if decision == byHandRegistered && (rec.State == UnknownUser || rec.State == Unregistered) {
		rec.become(Wanted, "")
	}
}

// SignedIn registers a user, by the canonical name, with the user's own login as
// it was typed, where there is no other way ([ErrNeedsLogin]). It does nothing
// where there is one.
func (r *Reconciler) SignedIn(ctx context.Context, user, login, password string) error {
	if !r.idle() || r.cfg.Policy == Off {
		return nil
	}
	own := r.cfg.Registrar.(*IMAP)
	if err := r.update(ctx, user, func(rec *record) {
		rec.SignedIn = true
		if rec.State == UnknownUser || rec.State == Unregistered {
			rec.become(Wanted, "")
		}
	}); err != nil {
		return err
	}
	_, err := r.settle(ctx, user, look{registrar: own.as(login, password), takeover: r.cfg.Takeover})
	r.trouble.note(err)
	return err
}
