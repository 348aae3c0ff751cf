// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"context"
	"sync/atomic"
	"time"
)

// Bounds of the tarpit: how many refused requests wait, and for how long.
const (
	maxDelayed = 256
	delay      = time.Second
)

// tarpit delays the answers to refused requests, so that a flood over a few
// connections costs next to nothing. Only maxDelayed of them wait; the others
// are answered at once.
type tarpit struct{ delayed atomic.Int64 }

func (p *tarpit) wait(ctx context.Context) {
	defer p.delayed.Add(-1)
	if p.delayed.Add(1) > maxDelayed {
		return
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
