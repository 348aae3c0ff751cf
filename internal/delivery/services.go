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
// of the service. Only those that failed the last time have one.
type services struct {
	mu       sync.Mutex
	circuits map[string]*circuit
}

func newServices() *services { return &services{circuits: make(map[string]*circuit)} }

// enter is [circuit.enter] of the named service.
func (s *services) enter(name string, now time.Time) (probe bool, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.circuits[name]; c != nil {
		return c.enter(now)
	}
	return false, 0
}

// wait is [circuit.wait] of the named service.
func (s *services) wait(name string, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.circuits[name]; c != nil {
		return c.wait(now)
	}
	return 0
}

// leave is [circuit.leave] of the named service. What refuses us may be one
// device's fault, such as a subscription that belongs to another server's key:
// a service is judged by several in a row, whatever they end with.
func (s *services) leave(name string, probe bool, o Outcome, now time.Time) (transition, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.circuits[name]
	if c == nil {
		c = new(circuit)
	}
	if o == Misconfigured {
		o = TryAgain
	}
	change, down := c.leave(probe, o, now)
	switch {
	case c.failures == 0 && !c.down && !c.probing:
		delete(s.circuits, name)
	case len(s.circuits) < maxServices:
		s.circuits[name] = c
	}
	return change, down
}

// abandon is [circuit.abandon] of the named service.
func (s *services) abandon(name string, probe bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.circuits[name]; c != nil {
		c.abandon(probe)
	}
}
