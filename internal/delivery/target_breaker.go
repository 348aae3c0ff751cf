// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"sync"
	"time"
)

// targetBreaker is the circuit breaker of a target with one destination. While
// it is open, all attempts but probes and trials wait.
type targetBreaker struct {
	health *health

	mu      sync.Mutex
	breaker breaker
	changed chan struct{} // closed and replaced when waiters should check again
}

func newTargetBreaker(h *health) *targetBreaker {
	return &targetBreaker{health: h, breaker: breaker{single: true}, changed: make(chan struct{})}
}

// wait waits until an attempt at an item is allowed, and returns why. Each call
// without an error must be followed by one done or cancel.
func (b *targetBreaker) wait(ctx context.Context, i item) (pass, error) {
	for {
		if err := ctx.Err(); err != nil {
			return passFree, err
		}
		now := time.Now()
		b.mu.Lock()
		of := unproven
		if b.breaker.down {
			of = b.health.of(i).class(b.breaker.last, now)
		}
		p, wait := b.breaker.allow(now, of)
		if wait == 0 {
			b.mu.Unlock()
			return p, nil
		}
		changed := b.changed
		b.mu.Unlock()

		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return passFree, ctx.Err()
		case <-changed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// done records the result of the attempt, see [breaker.done]. blamed means that
// it failed because the target is down.
func (b *targetBreaker) done(p pass, i item, r Result) (change transition, down time.Duration, blamed bool) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.health.of(i)
	wasFailing := was.class(b.breaker.last, now) == failing && b.breaker.lastAnswer.After(was.failed)
	change, down = b.breaker.done(p, i, wasFailing, r, now)
	b.health.note(i, r, now)
	if p == passProbe || change == cameBack {
		b.signal()
	}
	return change, down, b.breaker.blamed(i, wasFailing, r)
}

// cancel ends an attempt that was never made.
func (b *targetBreaker) cancel(p pass) {
	if p != passProbe {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.breaker.cancel(p)
	b.signal()
}

// signal makes all waiters check again. b.mu is held.
func (b *targetBreaker) signal() {
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *targetBreaker) isDown() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.breaker.down
}
