// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/jitter"
)

// schedule holds the users to reconcile, each at its own time: those whose
// desired state has changed, those who failed, and those whose grace time ends.
type schedule struct {
	mu    sync.Mutex
	users map[string]task
	wake  chan struct{}
}

type task struct {
	at        time.Time
	failures  int  // in a row
	fromTable bool // seen in the table, where another instance may act on it
}

func newSchedule() *schedule {
	return &schedule{users: make(map[string]task), wake: make(chan struct{}, 1)}
}

// add schedules a user, unless an earlier task exists.
func (s *schedule) add(user string, a task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.users[user]; ok && old.at.Before(a.at) {
		return
	}
	s.users[user] = a
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// takeDue removes the users who are due, and returns when the next one is.
func (s *schedule) takeDue(now time.Time) (users map[string]task, next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	users = make(map[string]task)
	next = time.Hour
	for user, a := range s.users {
		if wait := a.at.Sub(now); wait <= 0 {
			users[user] = a
			delete(s.users, user)
		} else {
			next = min(next, wait)
		}
	}
	return users, next
}

// runSchedule reconciles users when they are due, until ctx ends.
func (r *Reconciler) runSchedule(ctx context.Context) {
	slots := make(chan struct{}, r.cfg.Concurrency)
	for {
		users, next := r.schedule.takeDue(time.Now())
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
		case <-r.schedule.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// attempt reconciles a user who is due.
func (r *Reconciler) attempt(ctx context.Context, user string, a task) {
	if reason, _ := r.outage.current(); reason != "" {
		return // the pass that ends the outage covers all users
	}
	if a.fromTable && !r.stillDue(ctx, user) {
		return
	}
	rec, err := r.reconcile(ctx, user, request{registrar: r.cfg.Registrar, takeover: r.cfg.Takeover})
	if ctx.Err() != nil {
		return
	}
	if r.outage.update(err) {
		r.passNow()
		return
	}
	r.scheduleNext(user, rec, err, a.failures)
}

// scheduleNext schedules the next attempt, if one is necessary.
func (r *Reconciler) scheduleNext(user string, rec record, err error, failures int) {
	if r.idle() || !r.manages(&rec) {
		return
	}
	switch {
	case err != nil && classOf(err).retry:
		wait := r.backoff[min(failures, len(r.backoff)-1)]
		r.schedule.add(user, task{at: time.Now().Add(spread(wait)), failures: failures + 1})
	case err == nil && !rec.Until.IsZero():
		r.schedule.add(user, task{at: rec.Until})
	}
}

// spread returns d, give or take a tenth.
func spread(d time.Duration) time.Duration {
	return jitter.Spread(d, 0.1)
}
