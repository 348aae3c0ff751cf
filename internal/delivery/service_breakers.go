// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
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

// obstacle is what an attempt must wait for.
type obstacle struct {
	wait     time.Duration // at least; 0: the attempt may be made
	waitsFor string        // see [queue.Parked]
	reason   string
	of       class // of the destination
}

// allow is [breaker.allow] for a job.
func (b *serviceBreakers) allow(j *job, now time.Time) (pass, obstacle) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.breakers[j.service]
	o := b.check(c, j, now)
	if c == nil || o.wait > 0 {
		return passFree, o
	}
	p, _ := c.allow(now, o.of)
	return p, o
}

// obstacle returns what the next attempt for a job must wait for.
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

// done is [breaker.done] for a job. blamed means that the attempt failed
// because of the service, recovered that the destination works again.
func (b *serviceBreakers) done(j *job, p pass, r Result, now time.Time) (change transition, blamed, recovered bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, c := itemOf(j), b.breakers[j.service]
	if c == nil {
		c = &breaker{lastAnswer: now} // one refused device proves nothing
	}
	was := b.health.of(i)
	wasFailing := was.class(c.last, now) == failing
	change, _ = c.done(p, i, wasFailing, r, now)
	b.health.note(i, r, now)
	switch {
	case c.forgettable(now):
		delete(b.breakers, j.service)
	case len(b.breakers) < maxServiceBreakers:
		b.breakers[j.service] = c
	}
	return change, c.blamed(i, wasFailing, r), was.failures >= downAfter && r.Outcome == Delivered
}

// cancel is [breaker.cancel] for a job.
func (b *serviceBreakers) cancel(j *job, p pass) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.breakers[j.service]; c != nil {
		c.cancel(p)
	}
}
