// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// returnGap and returnWithin spread the groups that return to something
	// that works again: one group each gap, or faster if that would take too
	// long.
	returnGap    = 20 * time.Millisecond
	returnWithin = 10 * time.Second
	// maxRecovered bounds how many working things a target remembers.
	maxRecovered = 10_000
)

// recovery brings back groups that were parked because something was down, as
// soon as it works again, before they are due. What a group waits for is stored
// with it: after a restart, the first success brings it back.
type recovery struct {
	mu sync.Mutex
	// waiting are the postponed groups, by what they wait for and by their
	// sequence.
	waiting  map[string]map[uint64]*queue.Group
	waitsFor map[uint64]string    // by sequence
	worked   map[string]time.Time // when something worked again, or for the first time
}

func newRecovery() *recovery {
	return &recovery{
		waiting: make(map[string]map[uint64]*queue.Group), waitsFor: make(map[uint64]string),
		worked: make(map[string]time.Time),
	}
}

// Values of [queue.Parked.WaitsFor].
const forTarget = "target"

func forService(j *job) string     { return "service " + j.service }
func forDestination(j *job) string { return "destination " + j.record.Destination }

// due reports whether what g waits for has worked since g was parked.
func (r *recovery) due(g *queue.Group) bool {
	if g.WaitsFor == "" {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.isDue(g)
}

// isDue is due while r.mu is held.
func (r *recovery) isDue(g *queue.Group) bool {
	worked, ok := r.worked[g.WaitsFor]
	return ok && worked.Truncate(time.Millisecond).After(g.At)
}

// postponed records that g was postponed. It returns true if g is already due.
func (r *recovery) postponed(g *queue.Group) (due bool) {
	if g.WaitsFor == "" {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isDue(g) {
		return true
	}
	r.wait(g.WaitsFor, g)
	return false
}

// blocked records that g, which is due, was postponed because something is
// down.
func (r *recovery) blocked(waitsFor string, g *queue.Group) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait(waitsFor, g)
}

// wait is for postponed and blocked. r.mu is held.
func (r *recovery) wait(waitsFor string, g *queue.Group) {
	r.forget(g)
	r.waitsFor[g.Sequence] = waitsFor
	groups := r.waiting[waitsFor]
	if groups == nil {
		groups = make(map[uint64]*queue.Group)
		r.waiting[waitsFor] = groups
	}
	groups[g.Sequence] = g.WithoutRecords()
}

// taken records that g is no longer postponed.
func (r *recovery) taken(g *queue.Group) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(g)
}

// forget is taken while r.mu is held.
func (r *recovery) forget(g *queue.Group) {
	waitsFor, waits := r.waitsFor[g.Sequence]
	if !waits {
		return
	}
	delete(r.waitsFor, g.Sequence)
	if delete(r.waiting[waitsFor], g.Sequence); len(r.waiting[waitsFor]) == 0 {
		delete(r.waiting, waitsFor)
	}
}

// works records that something works. back means that it was down before. The
// groups that wait for it return then, one after the other, and also when it
// works for the first time: it may have been down before a restart.
func (r *recovery) works(waitsFor string, back bool, now time.Time) {
	r.mu.Lock()
	if _, known := r.worked[waitsFor]; known && !back {
		r.mu.Unlock()
		return
	}
	if len(r.worked) >= maxRecovered {
		clear(r.worked)
	}
	r.worked[waitsFor] = now
	groups := r.waiting[waitsFor]
	for _, g := range groups {
		delete(r.waitsFor, g.Sequence)
	}
	delete(r.waiting, waitsFor)
	r.mu.Unlock()
	gap := min(returnGap, returnWithin/time.Duration(max(len(groups), 1)))
	var delay time.Duration
	for _, g := range groups {
		_ = g.NakWithDelay(delay) // otherwise it returns when it is due
		delay += gap
	}
}
