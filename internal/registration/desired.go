// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"fmt"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// SetSubscribed stores whether a user, given by the canonical name, has
// subscriptions. A new subscriber is registered soon after it returns, with
// retries if that fails. The registration of a user without subscriptions ends
// after the grace time, if nothing else requires it.
func (r *Reconciler) SetSubscribed(ctx context.Context, user string, subscribed bool) error {
	return r.setDesired(ctx, user, func(rec *record) {
		switch {
		case subscribed:
			rec.Subscribed, rec.Until = true, time.Time{}
			if rec.State == UnknownUser || rec.State == Unregistered {
				rec.setState(Wanted, "")
			}
		case rec.Subscribed:
			rec.Subscribed = false
			rec.Until = time.Now().Add(r.cfg.Grace).UTC()
		}
	})
}

func (r *Reconciler) setDesired(ctx context.Context, user string, change func(*record)) error {
	if err := username.Valid(user); err != nil {
		return fmt.Errorf("%w: %w", ErrName, err)
	}
	if err := r.update(ctx, user, change); err != nil {
		return err
	}
	if !r.idle() && r.cfg.Policy != Off {
		r.schedule.add(user, task{at: time.Now()})
	}
	return nil
}

// syncSubscribers updates the desired state from Config.Subscribers.
func (r *Reconciler) syncSubscribers(ctx context.Context) error {
	if r.cfg.Subscribers == nil || r.cfg.Policy == Off {
		return nil
	}
	// The records are read first: a user who subscribes in the meantime is then
	// among the users only.
	records, err := r.records(ctx)
	if err != nil {
		return err
	}
	users, err := r.cfg.Subscribers(ctx)
	if err != nil {
		return fmt.Errorf("reading the users who have subscriptions: %w", err)
	}
	has := make(map[string]bool, len(users))
	for _, user := range users {
		has[user] = true
		if k := records[user]; !k.Subscribed && k.State != UnknownUser {
			if err := r.SetSubscribed(ctx, user, true); err != nil && classOf(err).scope != ofUser {
				return err
			}
		}
	}
	for user, k := range records {
		if k.Subscribed && !has[user] {
			if err := r.SetSubscribed(ctx, user, false); err != nil && classOf(err).scope != ofUser {
				return err
			}
		}
	}
	return nil
}

// Register stores an operator's decision that the user with a login is to be
// registered, and does it. It takes precedence over everything else. The error
// says why the user is not registered now; except for unknown users, attempts
// continue. With takeover, a value that something else has set is overwritten.
func (r *Reconciler) Register(ctx context.Context, user string, takeover bool) (Registration, error) {
	return r.decide(ctx, user, byHandRegistered, takeover)
}

// Unregister stores an operator's decision that the user is not to be
// registered, and does it. If the policy or a subscription would register the
// user, the decision holds until Register.
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
	rec, err := r.reconcile(ctx, user, request{registrar: r.cfg.Registrar, takeover: takeover || r.cfg.Takeover})
	if r.outage.update(err) {
		r.passNow()
	}
	r.scheduleNext(user, rec, err, 0)
	return r.registration(user, rec, err), err
}

func (r *Reconciler) decideRecord(rec *record, decision string) {
	rec.ByHand = ""
	if decision == byHandUnregistered && rec.State == UnknownUser {
		rec.setState(Unregistered, "")
	}
	if decision == byHandRegistered || r.cfg.Policy == Off || rec.wanted(r.cfg.Policy, time.Now()) {
		rec.ByHand = decision
	}
	if decision == byHandRegistered && (rec.State == UnknownUser || rec.State == Unregistered) {
		rec.setState(Wanted, "")
	}
}

// SignedIn registers a user, given by the canonical name, with the user's own
// login as it was typed, if there is no other way ([ErrNeedsLogin]). Otherwise
// it does nothing.
func (r *Reconciler) SignedIn(ctx context.Context, user, login, password string) error {
	if !r.idle() || r.cfg.Policy == Off {
		return nil
	}
	own := r.cfg.Registrar.(*IMAP)
	if err := r.update(ctx, user, func(rec *record) {
		rec.SignedIn = true
		if rec.State == UnknownUser || rec.State == Unregistered {
			rec.setState(Wanted, "")
		}
	}); err != nil {
		return err
	}
	_, err := r.reconcile(ctx, user, request{registrar: own.as(login, password), takeover: r.cfg.Takeover})
	r.outage.update(err)
	return err
}
