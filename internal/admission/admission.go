// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package admission limits how many requests do something costly at once, such
// as computing a hash or asking a mail server.
//
// The others wait in a queue that is bounded in total, per source and in time.
// Sources that were right before go first, then those that have done nothing
// wrong. When the queue is full, the last request of the lowest rank makes room
// for one of a higher rank. A flood of wrong guesses therefore keeps out nobody
// who has the right password, neither while it lasts nor afterwards.
//
// Nothing here relies on the context of a request, because net/http does not
// cancel it until the body has been read.
package admission

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Rank decides the order in which sources are admitted.
type Rank int

// The ranks, from last to first.
const (
	// Suspect sources have recently done something wrong, or have a request in
	// progress whose result is not known yet.
	Suspect Rank = iota
	// Fresh sources have done nothing wrong recently.
	Fresh
	// Known sources were right before.
	Known
)

// Limits are the bounds of a [Room].
type Limits struct {
	// Concurrent is how many requests may be inside.
	Concurrent int
	// Reserved is how many [Known] ones may be inside beyond that.
	Reserved int
	// ConcurrentPerSource bounds how many of one source may be inside. 0 means
	// no such bound.
	ConcurrentPerSource int
	// Waiting is how many may wait.
	Waiting int
	// PerSource bounds how many of one source may be inside or wait.
	PerSource int
	// MaxWait is how long a request waits at most.
	MaxWait time.Duration
}

// Room is what requests are admitted to. It is safe for concurrent use.
type Room struct {
	limits Limits

	mu      sync.Mutex
	inside  int
	queue   []*waiter // in the order in which they came
	sources map[netip.Addr]*counts
}

// counts are the numbers of one source.
type counts struct{ inside, waiting int }

type waiter struct {
	source netip.Addr
	rank   Rank
	answer chan bool // has room for the answer
}

// New returns an empty room.
func New(limits Limits) *Room {
	return &Room{limits: limits, sources: make(map[netip.Addr]*counts)}
}

// Acquire takes a place inside. It waits for one if necessary, until ctx ends.
// If it returns true, the caller must call Release.
func (r *Room) Acquire(ctx context.Context, source netip.Addr, rank Rank) bool {
	w, admitted := r.join(source, rank)
	if w == nil {
		return admitted
	}
	timer := time.NewTimer(r.limits.MaxWait)
	defer timer.Stop()
	select {
	case admitted := <-w.answer:
		return admitted
	case <-timer.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.queue, w); i >= 0 {
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
	r.forgetIfEmpty(source)
	for i := r.next(); i >= 0; i = r.next() {
		w := r.queue[i]
		r.admit(w.source) // before it is removed, which may forget the source
		r.remove(i)
		w.answer <- true
	}
}

// Present returns how many are inside and how many wait.
func (r *Room) Present() (inside, waiting int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inside, len(r.queue)
}

// join admits or queues a request. It returns nil if the answer is known.
func (r *Room) join(source netip.Addr, rank Rank) (w *waiter, admitted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Every queued request that could be admitted has been.
	if r.hasPlace(source, rank) {
		r.admit(source)
		return nil, true
	}
	if of := r.sources[source]; of != nil && of.inside+of.waiting >= r.limits.PerSource {
		return nil, false
	}
	if len(r.queue) >= r.limits.Waiting && !r.evict(rank) {
		return nil, false
	}
	w = &waiter{source: source, rank: rank, answer: make(chan bool, 1)}
	r.queue = append(r.queue, w)
	r.countsOf(source).waiting++
	return w, false
}

func (r *Room) hasPlace(source netip.Addr, rank Rank) bool {
	places := r.limits.Concurrent
	if rank == Known {
		places += r.limits.Reserved
	}
	of := r.sources[source]
	return r.inside < places && (r.limits.ConcurrentPerSource == 0 || of == nil || of.inside < r.limits.ConcurrentPerSource)
}

func (r *Room) admit(source netip.Addr) {
	r.inside++
	r.countsOf(source).inside++
}

// next returns the index of the waiter to be admitted now, or -1.
func (r *Room) next() int {
	next := -1
	for i, w := range r.queue {
		if (next < 0 || w.rank > r.queue[next].rank) && r.hasPlace(w.source, w.rank) {
			next = i
		}
	}
	return next
}

// evict refuses the last waiter of the lowest rank, if that is below rank.
func (r *Room) evict(rank Rank) bool {
	last := -1
	for i, w := range r.queue {
		if w.rank < rank && (last < 0 || w.rank <= r.queue[last].rank) {
			last = i
		}
	}
	if last < 0 {
		return false
	}
	r.queue[last].answer <- false
	r.remove(last)
	return true
}

// remove takes a waiter out of the queue.
func (r *Room) remove(i int) {
	source := r.queue[i].source
	r.queue = slices.Delete(r.queue, i, i+1)
	r.sources[source].waiting--
	r.forgetIfEmpty(source)
}

func (r *Room) countsOf(source netip.Addr) *counts {
	of := r.sources[source]
	if of == nil {
		of = new(counts)
		r.sources[source] = of
	}
	return of
}

// forgetIfEmpty forgets a source that has no requests here.
func (r *Room) forgetIfEmpty(source netip.Addr) {
	if *r.sources[source] == (counts{}) {
		delete(r.sources, source)
	}
}
