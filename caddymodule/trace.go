// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// traceSteps bounds what a trace that nobody reads holds up: further steps are lost to it.
const traceSteps = 1024

// traces are those of notifications that somebody watches. While there are none
// they cost one comparison.
type traces struct {
	active atomic.Int32

	mu  sync.Mutex
	all map[*watcher]struct{}
}

// watcher is somebody who watches those of some users, or of one mail.
type watcher struct {
	users   []string
	subject string // empty: any
	ids     map[notification.Identity]bool
	steps   chan adminapi.Step
}

// start watches the notifications of users, by their canonical names, and of the mail with the subject,
// until stop is called.
func (t *traces) start(users []string, subject string) (steps <-chan adminapi.Step, stop func()) {
	one := &watcher{users: users, subject: subject, ids: make(map[notification.Identity]bool), steps: make(chan adminapi.Step, traceSteps)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = make(map[*watcher]struct{})
	}
	t.all[one] = struct{}{}
	t.active.Add(1)
	return one.steps, sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.all, one)
		t.active.Add(-1)
	})
}

// storing notes whose notification r is, before it is stored: it may be
// delivered before the one who stores it knows.
func (t *traces) storing(r *queue.Record) {
	if t.active.Load() == 0 {
		return
	}
	n, err := target.Decoder.Decode(r.Body)
	if err != nil {
		return
	}
	t.each(func(one *watcher) {
		// Where Dovecot cannot be asked for the canonical name, it may mind capitals.
		named := slices.ContainsFunc(one.users, func(user string) bool { return username.Fold(user) == username.Fold(n.User) })
		if named || one.subject != "" && one.subject == n.Subject {
			one.ids[r.ID] = true
		}
	})
}

// stored reports how storing it ended.
func (t *traces) stored(id notification.Identity, took time.Duration, duplicate bool, err error) {
	if t.active.Load() == 0 {
		return
	}
	step := adminapi.Step{What: "stored", Milliseconds: milliseconds(took)}
	switch {
	case err != nil:
		step.What, step.Reason = "not_stored", err.Error()
	case duplicate:
		step.What = "duplicate"
	}
	t.report(id, step)
}

// attempt reports the result of an attempt.
func (t *traces) attempt(at *delivery.Attempt) {
	if t.active.Load() == 0 {
		return
	}
	step := adminapi.Step{What: "failed", Target: at.Target, Reason: at.Result.Reason, Milliseconds: milliseconds(at.Took)}
	switch {
	case at.Dead:
		step.What = "dead_letter"
	case at.Coalesced:
		step.What = "coalesced"
	case at.Silenced:
		step.What = "silenced"
	case at.Skipped:
		step.What, step.Reason = "skipped", "not wanted there, or the user has no device"
	case at.Result.Outcome == delivery.Delivered:
		step.What = "delivered"
	case at.Result.Outcome == delivery.Gone:
		step.What = "gone"
	}
	t.report(at.ID, step)
}

func (t *traces) report(id notification.Identity, step adminapi.Step) {
	step.ID, step.Time = id.String(), time.Now()
	t.each(func(one *watcher) {
		if !one.ids[id] {
			return
		}
		select {
		case one.steps <- step:
		default:
		}
	})
}

func (t *traces) each(do func(*watcher)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for one := range t.all {
		do(one)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
