// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// What a message is acknowledged with.
var (
	ackDone     = []byte("+ACK")
	ackProgress = []byte("+WPI")
	ackTerm     = []byte("+TERM")
)

// settleTimeout is how long the answer to an acknowledgement is waited for. A
// cluster that elects a leader may never give one.
const settleTimeout = AckWait / 3

func nakAfter(d time.Duration) []byte {
	return fmt.Appendf(nil, `-NAK {"delay":%d}`, max(d, atOnce).Nanoseconds())
}

// Group is what a reader holds: records that were accepted together, or that
// were parked together.
type Group struct {
	// Parked has the records. The rest of it is zero in what was accepted.
	Parked
	// WasParked tells the two apart.
	WasParked bool
	// Sequence is the number of the group, the same when it is given out
	// again. Accepted and parked ones are numbered each on their own.
	Sequence uint64
	// Behind is how many groups of the target nobody has taken so far.
	Behind uint64

	q      *Queue
	target string
	msg    *nats.Msg
}

// WithoutRecords is the same group, to be settled later on without keeping its
// records in memory.
func (g *Group) WithoutRecords() *Group {
	return &Group{WasParked: g.WasParked, Sequence: g.Sequence, q: g.q, target: g.target, msg: &nats.Msg{Reply: g.msg.Reply}}
}

// Settle tells the queue that every record of the group was delivered, parked
// anew or buried. It returns once the store knows it; while the store is
// opened anew it waits, so that nothing is delivered twice for that. After an
// error the group may come again.
func (g *Group) Settle() error {
	g.q.change.RLock()
	defer g.q.change.RUnlock()
	defer g.q.settled.Store(true)
	ctx, cancel := context.WithTimeout(g.q.available.context(), settleTimeout)
	defer cancel()
	_, err := g.q.nc().RequestWithContext(ctx, g.msg.Reply, ackDone)
	return err
}

// Keep tells the queue that the group is still being worked on.
func (g *Group) Keep() error { return g.q.nc().Publish(g.msg.Reply, ackProgress) }

// Postpone gives the group back to the queue, to be taken again after d.
func (g *Group) Postpone(d time.Duration) error {
	if !g.WasParked {
		g.q.trimming.note(position{g.target, g.Sequence})
	}
	return g.q.nc().Publish(g.msg.Reply, nakAfter(d))
}

// Return gives the group back to the queue, to be taken again at once.
func (g *Group) Return() error { return g.Postpone(atOnce) }
