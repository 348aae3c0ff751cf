// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"
)

// endpoint is one URL of the API. The pool guards what changes.
type endpoint struct {
	url     *url.URL
	address string        // host and port
	alarm   chan struct{} // filled when no endpoint is in service any more

	open    int       // connections
	doubted bool      // a probe finds out whether it still serves; calls wait for that
	reason  error     // why it is out of service; nil if it is in service
	since   time.Time // when it left service, or came back
}

// EndpointState is an endpoint as it is at a moment.
type EndpointState struct {
	// Address is host and port.
	Address string
	// InService reports whether calls go to it.
	InService bool
	// Reason is why it is out of service, and nil while it is in service.
	Reason error
	// Since is when it left service or came back, and zero if it never left.
	Since time.Time
	// Open is how many connections there are.
	Open int
}

// pool decides which endpoint a call goes to, and when: to those in service in
// turn, within the limits of open connections.
type pool struct {
	total, perRoute int

	mu        sync.Mutex
	closed    bool
	endpoints []*endpoint
	next      int // the endpoint whose turn it is
	open      int
	waiting   []*waiter // in the order they came
}

// waiter is a call that waits for a connection to be free.
type waiter struct {
	tried []*endpoint    // not these again
	turn  chan *endpoint // gets one, or nil if there is none left to wait for
}

// acquire waits for a connection to an endpoint in service that was not tried
// before, and returns nil if there is none. Each one is released afterwards.
func (p *pool) acquire(ctx context.Context, tried []*endpoint) (*endpoint, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClientClosed
	}
	e, some := p.pick(tried)
	if e != nil || !some {
		p.mu.Unlock()
		return e, nil
	}
	w := &waiter{tried: tried, turn: make(chan *endpoint, 1)}
	p.waiting = append(p.waiting, w)
	p.mu.Unlock()
	select {
	case e := <-w.turn:
		return e, nil
	case <-ctx.Done():
		p.abandon(w)
		return nil, fmt.Errorf("waiting for one of %d connections: %w", p.total, ctx.Err())
	}
}

// pick takes a connection, if one is free. some reports whether there is anything
// to wait for otherwise. p.mu is held.
func (p *pool) pick(tried []*endpoint) (picked *endpoint, some bool) {
	for i := range p.endpoints {
		e := p.endpoints[(p.next+i)%len(p.endpoints)]
		if e.reason == nil && e.doubted {
			some = true // its probe decides what the call ends with, also one that it has failed
			continue
		}
		if e.reason != nil || slices.Contains(tried, e) {
			continue
		}
		some = true
		if p.open < p.total && e.open < p.perRoute {
			p.next = (p.next + i + 1) % len(p.endpoints)
			p.open++
			e.open++
			return e, true
		}
	}
	return nil, some
}

// release gives a connection back.
func (p *pool) release(e *endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	e.open--
	p.dispatch()
}

// abandon takes back a waiter whose context has ended.
func (p *pool) abandon(w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(other *waiter) bool { return other == w })
	select {
	case e := <-w.turn: // it was its turn at the same moment
		if e != nil {
			p.open--
			e.open--
			p.dispatch()
		}
	default:
	}
}

// dispatch lets those go on who wait in vain, or need not wait any more. What
// is free after it is of no use to anybody who waits. p.mu is held.
func (p *pool) dispatch() {
	p.waiting = slices.DeleteFunc(p.waiting, func(w *waiter) bool {
		e, some := p.pick(w.tried)
		if e == nil && some {
			return false
		}
		w.turn <- e
		return true
	})
}

// close makes every later acquire fail. Those who wait keep their place: they
// were there before.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

func (p *pool) states() []EndpointState {
	p.mu.Lock()
	defer p.mu.Unlock()
	states := make([]EndpointState, len(p.endpoints))
	for i, e := range p.endpoints {
		states[i] = EndpointState{Address: e.address, InService: e.reason == nil, Reason: e.reason, Since: e.since, Open: e.open}
	}
	return states
}

// noneInService reports whether every endpoint is out. p.mu is held.
func (p *pool) noneInService() bool {
	return !slices.ContainsFunc(p.endpoints, func(e *endpoint) bool { return e.reason == nil })
}
