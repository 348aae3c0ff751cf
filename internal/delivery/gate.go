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
	mu      sync.Mutex
	circuit circuit
	changed chan struct{} // closed and replaced when waiters should look again
}

func newGate() *gate { return &gate{changed: make(chan struct{})} }

// enter waits until an attempt may be made, and tells whether it is the single
// one that a target gets while it is down. Each enter without an error is
// followed by one leave or abandon.
func (g *gate) enter(ctx context.Context) (probe bool, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		g.mu.Lock()
		probe, wait := g.circuit.enter(time.Now())
		if wait == 0 {
			g.mu.Unlock()
			return probe, nil
		}
		changed := g.changed
		g.mu.Unlock()

		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false, ctx.Err()
		case <-changed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// leave notes how the attempt ended, see [circuit.leave].
func (g *gate) leave(probe bool, o Outcome) (transition, time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change, down := g.circuit.leave(probe, o, time.Now())
	if probe || change == cameBack {
		g.wake()
	}
	return change, down
}

// abandon ends an attempt that was never made.
func (g *gate) abandon(probe bool) {
	if !probe {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.circuit.abandon(probe)
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
