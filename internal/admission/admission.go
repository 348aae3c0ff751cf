// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package admission lets only so many requests do something costly at once,
// such as computing a hash or asking a mail server.
//
// The others wait in a line that is bounded in all, for each source and in
// time. Sources that were right before go first, then those that have done
// nothing wrong. When the line is full, the last of the lowest rank makes room
// for a higher one. So a flood of wrong guesses keeps out no right one, neither
// while it lasts nor afterwards.
//
// Nothing here relies on the context of a request: net/http does not cancel it
// while the body has not been read.
package admission

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Rank is the order in which sources are admitted.
type Rank int

// The ranks, the last one first.
const (
	// Suspect sources have done something wrong lately, or have something
	// under way whose result is not known yet.
	Suspect Rank = iota
	// Fresh sources have done nothing wrong lately.
	Fresh
	// Known sources were right before.
	Known
)

// Limits are the bounds of a [Room].
type Limits struct {
	// AtOnce is how many may be inside.
	AtOnce int
	// Kept is how many more may be inside if they are [Known].
	Kept int
	// AtOnceOfSource bounds those of one source inside. 0: no such bound.
	AtOnceOfSource int
	// Waiting is how many may wait.
	Waiting int
	// OfSource bounds how many of one source are inside or wait.
	OfSource int
	// Patience is how long a request waits.
	Patience time.Duration
}

// Room is what requests are admitted to. It is safe for concurrent use.
type Room struct {
	limits Limits

	mu      sync.Mutex
	inside  int
	line    []*waiter // in the order in which they came
	sources map[netip.Addr]*presence
}

// presence is how many of one source are inside, and how many wait.
type presence struct{ inside, waiting int }

type waiter struct {
	source netip.Addr
	rank   Rank
	answer chan bool // has room for the answer
}

// New returns an empty room.
func New(limits Limits) *Room {
	return &Room{limits: limits, sources: make(map[netip.Addr]*presence)}
}

// Acquire gets a place inside, and waits for one until ctx ends if need be. If
// it returns true, Release must follow.
func (r *Room) Acquire(ctx context.Context, source netip.Addr, rank Rank) bool {
	w, admitted := r.come(source, rank)
	if w == nil {
		return admitted
	}
	timer := time.NewTimer(r.limits.Patience)
	defer timer.Stop()
	select {
	case admitted := <-w.answer:
		return admitted
	case <-timer.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.line, w); i >= 0 {
		r.remove(i)
		return false
	}
	return <-w.answer // it came at the same time
}

// Release gives the place back.
func (r *Room) Release(source netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside--
	r.sources[source].inside--
	r.tidy(source)
	for i := r.next(); i >= 0; i = r.next() {
		w := r.line[i]
		r.enter(w.source) // before it is removed, which may forget the source
		r.remove(i)
		w.answer <- true
	}
}

// Present is how many are inside, and how many wait.
func (r *Room) Present() (inside, waiting int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inside, len(r.line)
}

// come enters the room or the line. It returns nil if the answer is known.
func (r *Room) come(source netip.Addr, rank Rank) (w *waiter, admitted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Everybody in the line who could be admitted has been.
	if r.hasPlace(source, rank) {
		r.enter(source)
		return nil, true
	}
	if of := r.sources[source]; of != nil && of.inside+of.waiting >= r.limits.OfSource {
		return nil, false
	}
	if len(r.line) >= r.limits.Waiting && !r.evict(rank) {
		return nil, false
	}
	w = &waiter{source: source, rank: rank, answer: make(chan bool, 1)}
	r.line = append(r.line, w)
	r.presence(source).waiting++
	return w, false
}

func (r *Room) hasPlace(source netip.Addr, rank Rank) bool {
	places := r.limits.AtOnce
	if rank == Known {
		places += r.limits.Kept
	}
	of := r.sources[source]
	return r.inside < places && (r.limits.AtOnceOfSource == 0 || of == nil || of.inside < r.limits.AtOnceOfSource)
}

func (r *Room) enter(source netip.Addr) {
	r.inside++
	r.presence(source).inside++
}

// next is the index of the waiter to be admitted now, or -1.
func (r *Room) next() int {
	next := -1
	for i, w := range r.line {
		if (next < 0 || w.rank > r.line[next].rank) && r.hasPlace(w.source, w.rank) {
			next = i
		}
	}
	return next
}

// evict sends away the last waiter of the lowest rank, if that is below rank.
func (r *Room) evict(rank Rank) bool {
	last := -1
	for i, w := range r.line {
		if w.rank < rank && (last < 0 || w.rank <= r.line[last].rank) {
			last = i
		}
	}
	if last < 0 {
		return false
	}
	r.line[last].answer <- false
	r.remove(last)
	return true
}

// remove takes a waiter out of the line.
func (r *Room) remove(i int) {
	source := r.line[i].source
	r.line = slices.Delete(r.line, i, i+1)
	r.sources[source].waiting--
	r.tidy(source)
}

func (r *Room) presence(source netip.Addr) *presence {
	of := r.sources[source]
	if of == nil {
		of = new(presence)
		r.sources[source] = of
	}
	return of
}

// tidy forgets a source that has nobody here.
func (r *Room) tidy(source netip.Addr) {
	if *r.sources[source] == (presence{}) {
		delete(r.sources, source)
	}
}
