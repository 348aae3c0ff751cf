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

// admit waits until the attempt is allowed.
func (b *targetBreaker) admit(ctx context.Context, j *job, now func() time.Time) (pass, obstacle, error) {
	for {
		if err := ctx.Err(); err != nil {
			return passFree, obstacle{}, err
		}
		at := now()
		b.mu.Lock()
		of := unproven
		if b.breaker.down {
			of = b.health.of(itemOf(j)).class(b.breaker.last, at)
		}
		p, wait := b.breaker.allow(at, of)
		if wait == 0 {
			b.mu.Unlock()
			return p, obstacle{}, nil
		}
		changed := b.changed
		b.mu.Unlock()

		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return passFree, obstacle{}, ctx.Err()
		case <-changed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// obstacle is none: jobs wait in admit.
func (*targetBreaker) obstacle(*job, time.Time) obstacle { return obstacle{} }

func (b *targetBreaker) done(j *job, p pass, r Result, now time.Time) effect {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.breaker.record(b.health, itemOf(j), p, r, now)
	e.shared = forTarget
	if p == passProbe || e.change == cameBack {
		b.signal()
	}
	return e
}

func (b *targetBreaker) cancel(_ *job, p pass) {
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
