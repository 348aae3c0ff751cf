// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"sync"
	"time"
)

// downAfter is how many attempts in a row must fail before a target counts as
// down as a whole. Fewer may be the fault of single notifications.
const downAfter = 3

// probes is how long a target that is down is left alone before the next
// single attempt. The last step repeats.
var probes = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}

// gate is in front of every attempt at one target. It is open while the
// target works. While it is down, one attempt at a time passes, at growing
// distances, and everything else waits where it is.
type gate struct {
	mu       sync.Mutex
	failures int           // in a row
	probes   int           // failed while down
	probing  bool          // an attempt passed the closed gate and has not ended
	reopen   time.Time     // when the next one may
	changed  chan struct{} // closed and replaced when waiters should look again
	down     bool
	since    time.Time // when it went down
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
		if !g.down {
			g.mu.Unlock()
			return false, nil
		}
		wait := time.Until(g.reopen)
		if !g.probing && wait <= 0 {
			g.probing = true
			g.mu.Unlock()
			return true, nil
		}
		if g.probing {
			wait = time.Hour // the end of the attempt wakes us
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

// transition is what an attempt changed about its target.
type transition uint8

const (
	unchanged transition = iota
	wentDown
	cameBack
)

// leave notes how the attempt ended. It returns what that changed, and for
// how long the target has been down.
func (g *gate) leave(probe bool, o Outcome) (transition, time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if probe {
		g.probing = false
		defer g.wake()
	}
	if o == Delivered || o == Refused || o == Gone { // the target answered for itself
		g.failures, g.probes = 0, 0
		if !g.down {
			return unchanged, 0
		}
		g.down = false
		g.wake()
		return cameBack, time.Since(g.since)
	}
	switch {
	case probe && g.down: // no other attempt has brought it back meanwhile
		g.probes = min(g.probes+1, len(probes)-1)
		g.reopen = time.Now().Add(jitter(probes[g.probes]))
	case g.down: // it was under way when the target went down
	default:
		if g.failures++; g.failures < downAfter && o != Misconfigured {
			return unchanged, 0
		}
		g.down, g.since = true, time.Now()
		g.reopen = g.since.Add(jitter(probes[0]))
		return wentDown, 0
	}
	return unchanged, time.Since(g.since)
}

// abandon ends an attempt that was never made.
func (g *gate) abandon(probe bool) {
	if !probe {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.probing = false
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
	return g.down
}
