// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"maps"
	"sync"
	"time"
)

// progressInterval is how often a long pass logs its progress.
const progressInterval = 10 * time.Second

// Pass is the progress of a pass over all users.
type Pass struct {
	Started time.Time
	// Ended is zero while it runs.
	Ended time.Time
	// Err is why it ended early.
	Err error
	// Users is how many users it covers, Done how many are done.
	Users, Done int
	// States is how many of them are in each state afterwards.
	States map[State]int
	// Registered and Unregistered are how many entries were set and removed
	// since it started.
	Registered, Unregistered int64
}

// progress is a running Pass.
type progress struct {
	r *Reconciler

	mu                       sync.Mutex
	pass                     Pass
	registered, unregistered int64 // before it
}

func (r *Reconciler) newProgress(users int) *progress {
	return &progress{
		r: r, registered: r.registered.Load(), unregistered: r.unregistered.Load(),
		pass: Pass{Started: time.Now(), Users: users, States: make(map[State]int)},
	}
}

func (p *progress) note(_ string, rec record, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass.Done++
	p.pass.States[rec.State]++
}

func (p *progress) end(err error) {
	pass := p.snapshot()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass.Ended, p.pass.Err = time.Now(), err
	p.pass.Registered, p.pass.Unregistered = pass.Registered, pass.Unregistered
}

func (p *progress) snapshot() Pass {
	p.mu.Lock()
	defer p.mu.Unlock()
	pass := p.pass
	pass.States = maps.Clone(pass.States)
	if pass.Ended.IsZero() {
		pass.Registered = p.r.registered.Load() - p.registered
		pass.Unregistered = p.r.unregistered.Load() - p.unregistered
	}
	return pass
}

// logProgress logs the progress of a long pass until it has ended.
func (r *Reconciler) logProgress(p *progress, ended <-chan struct{}) {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			pass := p.snapshot()
			r.cfg.Logger.Info("checking registrations", "users", pass.Users, "done", pass.Done,
				"registered", pass.Registered, "unregistered", pass.Unregistered)
		}
	}
}

// logSummary logs the result of a pass: what was done, and what an operator
// should look at.
func (r *Reconciler) logSummary(p *progress) {
	pass := p.snapshot()
	facts := []any{
		"users", pass.Users, "registered", pass.Registered, "unregistered", pass.Unregistered,
		"took", pass.Ended.Sub(pass.Started).Round(time.Millisecond),
	}
	open := 0
	for _, state := range []State{Conflict, Failed, UnknownUser} {
		if n := pass.States[state]; n > 0 {
			facts = append(facts, string(state), n)
			open += n
		}
	}
	switch {
	case open > 0:
		r.cfg.Logger.Warn("some users could not be registered; \"caddy dovecot-push registrations\" lists them", facts...)
	case pass.Registered+pass.Unregistered > 0:
		r.cfg.Logger.Info("registrations are up to date", facts...)
	default:
		r.cfg.Logger.Debug("registrations are up to date", facts...)
	}
}
