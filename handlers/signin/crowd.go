// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of how many are dealt with at once.
const (
	// checksAtOnce bounds the connections to the mail server; checksWaiting
	// bounds those who wait for one, which they do for waitForCheck at most;
	// checksOfSource bounds both for one source, so that there is room for
	// others.
	checksAtOnce   = 16
	checksWaiting  = 64
	checksOfSource = 24
	waitForCheck   = 5 * time.Second

	// dawdlers is how many refused ones are made to wait for dawdleFor.
	dawdlers  = 256
	dawdleFor = time.Second
)

// crowd is everybody who wants a login checked right now.
type crowd struct {
	slots    chan struct{}
	waiting  atomic.Int64
	dawdling atomic.Int64

	mu     sync.Mutex
	inside map[netip.Addr]int // checks, waiting or under way, by source
}

func newCrowd() *crowd {
	return &crowd{slots: make(chan struct{}, checksAtOnce), inside: make(map[netip.Addr]int)}
}

// enter waits for one of the slots. If it returns true, leave must follow.
func (c *crowd) enter(ctx context.Context, source netip.Addr) bool {
	if !c.come(source) {
		return false
	}
	if c.slot(ctx) {
		return true
	}
	c.goAway(source)
	return false
}

func (c *crowd) leave(source netip.Addr) {
	<-c.slots
	c.goAway(source)
}

func (c *crowd) come(source netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inside[source] >= checksOfSource {
		return false
	}
	c.inside[source]++
	return true
}

func (c *crowd) goAway(source netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inside[source]--; c.inside[source] == 0 {
		delete(c.inside, source)
	}
}

func (c *crowd) slot(ctx context.Context) bool {
	select {
	case c.slots <- struct{}{}:
		return true
	default:
	}
	if c.waiting.Add(1) > checksWaiting {
		c.waiting.Add(-1)
		return false
	}
	defer c.waiting.Add(-1)
	timer := time.NewTimer(waitForCheck)
	defer timer.Stop()
	select {
	case c.slots <- struct{}{}:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

// dawdle lets the refused wait before they are told, so that a flood of them
// over some connections is a trickle that costs next to nothing. Only so many
// wait: the others are told at once.
func (c *crowd) dawdle(ctx context.Context) {
	defer c.dawdling.Add(-1)
	if c.dawdling.Add(1) > dawdlers {
		return
	}
	timer := time.NewTimer(dawdleFor)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
