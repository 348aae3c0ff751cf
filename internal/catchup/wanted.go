// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"sync"
	"time"
)

// Trigger is why a sweep begins.
type Trigger string

// The triggers.
const (
	Start    Trigger = "start"
	Interval Trigger = "interval"
	// Retry follows a sweep that could not be ended.
	Retry Trigger = "retry"
	// Back is a mail server that answers again.
	Back Trigger = "mail_server_back"
	// Writable is a queue that takes notifications again.
	Writable Trigger = "queue_writable"
	// LetIn is a mail server that was refused and is let in again.
	LetIn Trigger = "let_in_again"
	// Registered are users who came to be registered.
	Registered Trigger = "registered"
	// Command is an operator.
	Command Trigger = "command"
)

// registeredDelay is how long users who came to be registered wait for others.
const registeredDelay = 3 * time.Second

// maxWantedUsers is how many users are remembered by name; beyond that all are
// swept.
const maxWantedUsers = 10_000

// request is a wish for a sweep.
type request struct {
	why Trigger
	// all users, or those.
	all   bool
	users []string
	// progress, if set, is called when that changes; done gets the result.
	progress func(Progress)
	done     chan<- outcome
}

type outcome struct {
	progress Progress
	err      error
}

// wanted are the sweeps that somebody waits for.
type wanted struct {
	arrived chan struct{}

	mu sync.Mutex
	// soon are the users that a trigger named, in the order in which they came.
	soon     []string
	known    map[string]struct{}
	all      bool
	why      Trigger
	commands []request
}

func newWanted() *wanted {
	return &wanted{arrived: make(chan struct{}, 1), known: make(map[string]struct{})}
}

// want asks for a sweep of the users, or of all users if none is given, and
// does not wait for it.
func (w *wanted) want(why Trigger, users ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.why = why
	if len(users) == 0 || len(w.soon)+len(users) > maxWantedUsers {
		w.all = true
	}
	for _, user := range users {
		if _, ok := w.known[user]; !ok && len(w.soon) < maxWantedUsers {
			w.known[user] = struct{}{}
			w.soon = append(w.soon, user)
		}
	}
	if why == Registered { // others follow, as a rule
		time.AfterFunc(registeredDelay, w.wake)
		return
	}
	w.wake()
}

func (w *wanted) command(r request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.commands = append(w.commands, r)
	w.wake()
}

func (w *wanted) wake() {
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

func (w *wanted) take() []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.commands
	if w.all || len(w.soon) > 0 {
		all = append(all, request{why: w.why, all: w.all, users: w.soon})
	}
	w.commands, w.soon, w.all = nil, nil, false
	clear(w.known)
	return all
}

// fail ends the commands that wait. What was triggered is left: it is found by
// the sweep of the instance that has the lease.
func (w *wanted) fail(err error) {
	for _, r := range w.take() {
		if r.done != nil {
			r.done <- outcome{err: err}
		}
	}
}

// Trigger asks for a sweep of the users with these logins, or of all users if
// none is given, soon. It does not wait. Where another one has the lease, that
// one looks at all users.
func (c *Catcher) Trigger(why Trigger, users ...string) {
	if c.cfg.Alone || c.Status().Leads {
		c.wanted.want(why, users...)
		return
	}
	c.forwards.Go(func() { c.forward(why) })
}

// Sweep sweeps the users with these logins, or all users if none is given, and
// calls progress, from one goroutine at a time, until it is through.
func (c *Catcher) Sweep(ctx context.Context, users []string, progress func(Progress)) (Progress, error) {
	done := make(chan outcome, 1)
	c.wanted.command(request{why: Command, all: len(users) == 0, users: users, progress: progress, done: done})
	select {
	case o := <-done:
		return o.progress, o.err
	case <-ctx.Done():
		return Progress{}, ctx.Err()
	}
}
