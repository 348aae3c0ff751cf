// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"sync"
	"time"
)

// gate is in front of every attempt at a target with one destination. While
// its circuit is open everything but the single attempts waits where it is.
type gate struct {
	health *health

	mu      sync.Mutex
	circuit circuit
	changed chan struct{} // closed and replaced when waiters should look again
}

func newGate(h *health) *gate {
	return &gate{health: h, circuit: circuit{lonely: true}, changed: make(chan struct{})}
}

// enter waits until an attempt at an item may be made, and tells why it may.
// Each enter without an error is followed by one leave or abandon.
func (g *gate) enter(ctx context.Context, i item) (pass, error) {
	for {
		if err := ctx.Err(); err != nil {
			return passFree, err
		}
		now := time.Now()
		g.mu.Lock()
		of := stranger
		if g.circuit.down {
			of = g.health.of(i).class(g.circuit.last, now)
		}
		p, wait := g.circuit.enter(now, of)
		if wait == 0 {
			g.mu.Unlock()
			return p, nil
		}
		changed := g.changed
		g.mu.Unlock()

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

// leave notes how the attempt ended, see [circuit.leave]. blamed tells that it
// failed because the target is down.
func (g *gate) leave(p pass, i item, r Result) (change transition, down time.Duration, blamed bool) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.health.of(i)
	wasIll := was.class(g.circuit.last, now) == ill && g.circuit.heard.After(was.failed)
	change, down = g.circuit.leave(p, i, wasIll, r, now)
	g.health.note(i, r, now)
	if p == passProbe || change == cameBack {
		g.wake()
	}
	return change, down, g.circuit.blamed(i, wasIll, r)
}

// abandon ends an attempt that was never made.
func (g *gate) abandon(p pass) {
	if p != passProbe {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.circuit.abandon(p)
	g.wake()
}

// wake lets everybody who waits look again. g.mu is held.
func (g *gate) wake() {
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *gate) isDown() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.circuit.down
}
