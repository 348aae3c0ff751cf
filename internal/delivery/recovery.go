// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// returnGap and returnWithin spread what returns to something that works
	// again: one group each gap, or faster where that would take too long.
	returnGap    = 20 * time.Millisecond
	returnWithin = 10 * time.Second
	// maxRecovered bounds how many things that work a lane remembers.
	maxRecovered = 10_000
)

// recovery brings back what was parked because something was down, as soon as
// that works again, and before its time. What it waits for is stored with it:
// after a restart the first success brings it back.
type recovery struct {
	mu sync.Mutex
	// waiting are the groups that are put off, by what they wait for and by
	// their sequence.
	waiting map[string]map[uint64]*queue.Group
	what    map[uint64]string    // each of them waits for
	worked  map[string]time.Time // when something worked again, or first
}

func newRecovery() *recovery {
	return &recovery{
		waiting: make(map[string]map[uint64]*queue.Group), what: make(map[uint64]string),
		worked: make(map[string]time.Time),
	}
}

// What parked notifications wait for.
const forTarget = "target"

func forService(j *job) string     { return "service " + j.service }
func forDestination(j *job) string { return "destination " + j.record.Destination }

// due reports whether what g waits for works again since g was parked.
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

// putOff notes that g was put off. It returns true if it is due already.
func (r *recovery) putOff(g *queue.Group) (due bool) {
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

// blocked notes that g, which is due, was put off because something is down.
func (r *recovery) blocked(waitsFor string, g *queue.Group) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait(waitsFor, g)
}

// wait is for putOff and blocked. r.mu is held.
func (r *recovery) wait(waitsFor string, g *queue.Group) {
	r.forget(g)
	r.what[g.Sequence] = waitsFor
	groups := r.waiting[waitsFor]
	if groups == nil {
		groups = make(map[uint64]*queue.Group)
		r.waiting[waitsFor] = groups
	}
	groups[g.Sequence] = g.WithoutRecords()
}

// taken notes that g is not put off any more.
func (r *recovery) taken(g *queue.Group) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(g)
}

// forget is taken while r.mu is held.
func (r *recovery) forget(g *queue.Group) {
	waitsFor, waits := r.what[g.Sequence]
	if !waits {
		return
	}
	delete(r.what, g.Sequence)
	if delete(r.waiting[waitsFor], g.Sequence); len(r.waiting[waitsFor]) == 0 {
		delete(r.waiting, waitsFor)
	}
}

// works notes that something does; back tells that it was down before. What
// waits for it returns then, one after the other, and when it works for the
// first time: that it was down was before a restart.
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
		delete(r.what, g.Sequence)
	}
	delete(r.waiting, waitsFor)
	r.mu.Unlock()
	gap := min(returnGap, returnWithin/time.Duration(max(len(groups), 1)))
	var delay time.Duration
	for _, g := range groups {
		_ = g.Postpone(delay) // otherwise it comes at its own time
		delay += gap
	}
}
