// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// followerSteps bounds what a follower that does not read holds up: further
// steps are lost to it.
const followerSteps = 1024

// followers are those who watch what happens to the notifications of one user.
// While there are none they cost one comparison.
type followers struct {
	active atomic.Int32

	mu  sync.Mutex
	all map[*follower]struct{}
}

type follower struct {
	users   []string
	subject string // empty: any
	ids     map[notification.Identity]bool
	steps   chan adminapi.Step
}

// follow watches the notifications of users, by their canonical names, and of the mail with the subject,
// until stop is called.
func (f *followers) follow(users []string, subject string) (steps <-chan adminapi.Step, stop func()) {
	one := &follower{users: users, subject: subject, ids: make(map[notification.Identity]bool), steps: make(chan adminapi.Step, followerSteps)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = make(map[*follower]struct{})
	}
	f.all[one] = struct{}{}
	f.active.Add(1)
	return one.steps, sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.all, one)
		f.active.Add(-1)
	})
}

// storing notes whose notification r is, before it is stored: it may be
// delivered before the one who stores it knows.
func (f *followers) storing(r *queue.Record) {
	if f.active.Load() == 0 {
		return
	}
	n, err := decoder.Decode(r.Body)
	if err != nil {
		return
	}
	f.each(func(one *follower) {
		// Where Dovecot cannot be asked for the canonical name, it may mind capitals.
		named := slices.ContainsFunc(one.users, func(user string) bool { return username.Fold(user) == username.Fold(n.User) })
		if named || one.subject != "" && one.subject == n.Subject {
			one.ids[r.ID] = true
		}
	})
}

// stored tells how storing it ended.
func (f *followers) stored(id notification.Identity, took time.Duration, duplicate bool, err error) {
	if f.active.Load() == 0 {
		return
	}
	step := adminapi.Step{What: "stored", Milliseconds: milliseconds(took)}
	switch {
	case err != nil:
		step.What, step.Reason = "not_stored", err.Error()
	case duplicate:
		step.What = "duplicate"
	}
	f.tell(id, step)
}

// attempt reports the result of an attempt.
func (f *followers) attempt(at *delivery.Attempt) {
	if f.active.Load() == 0 {
		return
	}
	step := adminapi.Step{What: "failed", Target: at.Target, Reason: at.Result.Reason, Milliseconds: milliseconds(at.Took)}
	switch {
	case at.Dead:
		step.What = "dead_letter"
	case at.Coalesced:
		step.What = "coalesced"
	case at.Skipped:
		step.What, step.Reason = "skipped", "not wanted there, or the user has no device"
	case at.Result.Outcome == delivery.Delivered:
		step.What = "delivered"
	case at.Result.Outcome == delivery.Gone:
		step.What = "gone"
	}
	f.tell(at.ID, step)
}

func (f *followers) tell(id notification.Identity, step adminapi.Step) {
	step.ID, step.Time = id.String(), time.Now()
	f.each(func(one *follower) {
		if !one.ids[id] {
			return
		}
		select {
		case one.steps <- step:
		default:
		}
	})
}

func (f *followers) each(do func(*follower)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for one := range f.all {
		do(one)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
