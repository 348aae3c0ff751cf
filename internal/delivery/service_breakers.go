// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"sync"
	"time"
)

// maxServiceBreakers bounds how many failing services a target remembers.
// Others are attempted as if they had not failed.
const maxServiceBreakers = 10_000

// serviceBreakers are the circuit breakers of a target with several
// destinations, by the name of the service. Only services that failed recently
// have one.
type serviceBreakers struct {
	health *health

	mu       sync.Mutex
	breakers map[string]*breaker
}

func newServiceBreakers(h *health) *serviceBreakers {
	return &serviceBreakers{health: h, breakers: make(map[string]*breaker)}
}

// admit never waits: a worker that waits for one service is missing for others.
func (b *serviceBreakers) admit(_ context.Context, j *job, now func() time.Time) (p pass, o obstacle, _ error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, at := b.breakers[j.service], now()
	if o = b.check(c, j, at); c != nil && o.wait == 0 {
		p, _ = c.allow(at, o.of)
	}
	return p, o, nil
}

func (b *serviceBreakers) obstacle(j *job, now time.Time) obstacle {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.check(b.breakers[j.service], j, now)
}

// check returns what j must wait for: its destination, or the service. b.mu is
// held.
func (b *serviceBreakers) check(c *breaker, j *job, now time.Time) obstacle {
	if c == nil {
		c = new(breaker)
	}
	is := b.health.of(itemOf(j))
	if wait := is.wait(c.last, now); wait > 0 {
		return obstacle{wait, forDestination(j), reasonDestinationDown, failing}
	}
	of := is.class(c.last, now)
	return obstacle{c.wait(now, of), forService(j), reasonServiceDown, of}
}

func (b *serviceBreakers) done(j *job, p pass, r Result, now time.Time) effect {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.breakers[j.service]
	if c == nil {
		c = &breaker{lastAnswer: now} // one refused device proves nothing
	}
	e := c.record(b.health, itemOf(j), p, r, now)
	e.shared = forService(j)
	switch {
	case c.forgettable(now):
		delete(b.breakers, j.service)
	case len(b.breakers) < maxServiceBreakers:
		b.breakers[j.service] = c
	}
	return e
}

func (b *serviceBreakers) cancel(j *job, p pass) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.breakers[j.service]; c != nil {
		c.cancel(p)
	}
}

// isDown is false: other services may work.
func (*serviceBreakers) isDown() bool { return false }
