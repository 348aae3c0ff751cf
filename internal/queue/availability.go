// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// holdTime is how long a group waits for a store that is away: long enough
	// for a connection to another server, short enough for Dovecot, which waits
	// two seconds for its answer.
	holdTime = 1500 * time.Millisecond
	// holdAtFirst is how long the store may be away until groups are refused
	// at once: a cluster has elected another leader by then, or it will take
	// longer, and mail delivery must not wait for each notification.
	holdAtFirst = 10 * time.Second
)

// availability is whether the store accepts writes.
type availability struct {
	is atomic.Bool

	mu    sync.Mutex
	up    context.Context // ends when what is under way has failed with the store
	fails context.CancelFunc
	since time.Time     // when the store was last seen to take none
	again chan struct{} // closed when it takes writes
}

func newAvailability(ctx context.Context) *availability {
	a := &availability{since: time.Now(), again: make(chan struct{})}
	a.up, a.fails = context.WithCancel(ctx)
	return a
}

// context returns a context that ends when the store fails.
func (a *availability) context() context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.up
}

// set records that the store accepts writes.
func (a *availability) set(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.up.Err() != nil {
		a.up, a.fails = context.WithCancel(ctx)
	}
	if !a.is.Swap(true) {
		close(a.again)
	}
}

// clear records that it does not.
func (a *availability) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.is.Swap(false) {
		a.since, a.again = time.Now(), make(chan struct{})
	}
}

// fail records that it does not, and ends writes in progress.
func (a *availability) fail() {
	a.clear()
	a.interrupt()
}

// interrupt ends writes in progress.
func (a *availability) interrupt() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails()
}

// away returns how long the store has not accepted writes.
func (a *availability) away() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.is.Load() {
		return 0
	}
	return time.Since(a.since)
}

// wait returns when the store accepts writes, has not accepted any for too
// long, or ctx ends.
func (a *availability) wait(ctx context.Context) {
	a.mu.Lock()
	again, left := a.again, holdAtFirst-time.Since(a.since)
	a.mu.Unlock()
	if a.is.Load() || left <= 0 {
		return
	}
	end := time.NewTimer(left)
	defer end.Stop()
	select {
	case <-again:
	case <-end.C:
	case <-ctx.Done():
	}
}
