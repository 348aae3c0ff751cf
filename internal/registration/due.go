// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// due holds the users to look at, each at a time of its own: those about whom
// something was wished, those who failed, and those whose grace time ends.
type due struct {
	mu    sync.Mutex
	users map[string]appointment
	wake  chan struct{}
}

type appointment struct {
	at       time.Time
	failures int  // in a row
	noticed  bool // in the table, where somebody else may follow it
}

func newDue() *due {
	return &due{users: make(map[string]appointment), wake: make(chan struct{}, 1)}
}

// put makes an appointment, unless there is an earlier one.
func (d *due) put(user string, a appointment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old, ok := d.users[user]; ok && old.at.Before(a.at) {
		return
	}
	d.users[user] = a
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take removes the users whose time has come, and tells when the next one's
// does.
func (d *due) take(now time.Time) (users map[string]appointment, next time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	users = make(map[string]appointment)
	next = time.Hour
	for user, a := range d.users {
		if wait := a.at.Sub(now); wait <= 0 {
			users[user] = a
			delete(d.users, user)
		} else {
			next = min(next, wait)
		}
	}
	return users, next
}

// settleDue looks at users when their time comes, until ctx ends.
func (r *Reconciler) settleDue(ctx context.Context) {
	slots := make(chan struct{}, r.cfg.Concurrency)
	for {
		users, next := r.due.take(time.Now())
		for user, a := range users {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			r.wg.Go(func() {
				defer func() { <-slots }()
				r.attempt(ctx, user, a)
			})
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.due.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// attempt settles a user whose time has come.
func (r *Reconciler) attempt(ctx context.Context, user string, a appointment) {
	if reason, _ := r.trouble.now(); reason != "" {
		return // the pass that finds it over looks at all users
	}
	if a.noticed && !r.stillDue(ctx, user) {
		return
	}
	rec, err := r.settle(ctx, user, look{registrar: r.cfg.Registrar, takeover: r.cfg.Takeover})
	if ctx.Err() != nil {
		return
	}
	if r.trouble.note(err) {
		r.passNow()
		return
	}
	r.follow(user, rec, err, a.failures)
}

// follow makes the next appointment after an attempt, if there must be one.
func (r *Reconciler) follow(user string, rec record, err error, failures int) {
	if r.idle() || !r.minds(&rec) {
		return
	}
	switch {
	case err != nil && classOf(err).again:
		wait := r.backoff[min(failures, len(r.backoff)-1)]
		r.due.put(user, appointment{at: time.Now().Add(jitter(wait)), failures: failures + 1})
	case err == nil && !rec.Until.IsZero() && rec.wanted(r.cfg.Policy, time.Now()):
		r.due.put(user, appointment{at: rec.Until})
	}
}

// jitter spreads d by a tenth either way.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64())) //nolint:gosec // not a secret
}
