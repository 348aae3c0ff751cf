// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"sync"
	"time"
)

// maxServices bounds how many failing services a lane remembers. What is
// beyond is attempted as if it had not failed.
const maxServices = 10_000

// services are the circuits of a lane with several destinations, by the name
// of the service. Only those that failed recently have one.
type services struct {
	health *health

	mu       sync.Mutex
	circuits map[string]*circuit
}

func newServices(h *health) *services {
	return &services{health: h, circuits: make(map[string]*circuit)}
}

// obstacle is what an attempt has to wait for.
type obstacle struct {
	wait     time.Duration // at least; 0: the attempt may be made
	waitsFor string        // see [queue.Parked]
	reason   string
	of       class // of the destination
}

// enter is [circuit.enter] for a job.
func (s *services) enter(j *job, now time.Time) (pass, obstacle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.circuits[j.service]
	o := s.look(c, j, now)
	if c == nil || o.wait > 0 {
		return passFree, o
	}
	p, _ := c.enter(now, o.of)
	return p, o
}

// obstacle is what the next attempt for a job has to wait for.
func (s *services) obstacle(j *job, now time.Time) obstacle {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.look(s.circuits[j.service], j, now)
}

// look finds what is in the way of j: its destination, which is left alone for
// a while, or the service. s.mu is held.
func (s *services) look(c *circuit, j *job, now time.Time) obstacle {
	if c == nil {
		c = new(circuit)
	}
	is := s.health.of(itemOf(j))
	if wait := is.wait(c.last, now); wait > 0 {
		return obstacle{wait, forDestination(j), reasonDestinationDown, ill}
	}
	of := is.class(c.last, now)
	return obstacle{c.wait(now, of), forService(j), reasonServiceDown, of}
}

// leave is [circuit.leave] for a job. blamed tells that the attempt failed
// because of the service, recovered that the destination works again.
func (s *services) leave(j *job, p pass, r Result, now time.Time) (change transition, blamed, recovered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, c := itemOf(j), s.circuits[j.service]
	if c == nil {
		c = &circuit{heard: now} // one device that is refused is no sign
	}
	was := s.health.of(i)
	wasIll := was.class(c.last, now) == ill
	change, _ = c.leave(p, i, wasIll, r, now)
	s.health.note(i, r, now)
	switch {
	case c.forgettable(now):
		delete(s.circuits, j.service)
	case len(s.circuits) < maxServices:
		s.circuits[j.service] = c
	}
	return change, c.blamed(i, wasIll, r), was.failures >= downAfter && r.Outcome == Delivered
}

// abandon is [circuit.abandon] for a job.
func (s *services) abandon(j *job, p pass) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.circuits[j.service]; c != nil {
		c.abandon(p)
	}
}
