// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Replies to a message, as JetStream defines them.
var (
	ackDone     = []byte("+ACK")
	ackProgress = []byte("+WPI")
	ackTerm     = []byte("+TERM")
)

// ackReplyTimeout is how long to wait for the answer to an acknowledgement. A
// cluster that elects a leader may never answer.
const ackReplyTimeout = AckWait / 3

func nakAfter(d time.Duration) []byte {
	return fmt.Appendf(nil, `-NAK {"delay":%d}`, max(d, atOnce).Nanoseconds())
}

// Group is a unit of delivery: records that were accepted together, or parked
// together. Its methods are named like those of a message in nats.go.
type Group struct {
	// Parked has the records. Its other fields are zero for accepted groups.
	Parked
	// WasParked is whether the group was parked.
	WasParked bool
	// Sequence is the number of the group, the same when it is redelivered.
	// Accepted and parked groups are numbered separately.
	Sequence uint64
	// Behind is how many groups of the target have not been taken yet.
	Behind uint64

	q      *Queue
	target string
	msg    *nats.Msg
}

// WithoutRecords returns the same group without its records, to be acknowledged
// later without keeping them in memory.
func (g *Group) WithoutRecords() *Group {
	return &Group{WasParked: g.WasParked, Sequence: g.Sequence, q: g.q, target: g.target, msg: &nats.Msg{Reply: g.msg.Reply}}
}

// Ack acknowledges the group: every record was delivered, parked again or
// stored as a dead letter. It returns once the store has confirmed it. While
// the store is being reopened it waits, so that nothing is delivered twice.
// After an error the group may be redelivered.
func (g *Group) Ack() error {
	g.q.change.RLock()
	defer g.q.change.RUnlock()
	defer g.q.acked.Store(true)
	ctx, cancel := context.WithTimeout(g.q.available.context(), ackReplyTimeout)
	defer cancel()
	_, err := g.q.nc().RequestWithContext(ctx, g.msg.Reply, ackDone)
	return err
}

// InProgress extends the time until the group is redelivered.
func (g *Group) InProgress() error { return g.q.nc().Publish(g.msg.Reply, ackProgress) }

// NakWithDelay gives the group back to the queue, to be redelivered after d.
func (g *Group) NakWithDelay(d time.Duration) error {
	if !g.WasParked {
		g.q.trimming.note(position{g.target, g.Sequence})
	}
	return g.q.nc().Publish(g.msg.Reply, nakAfter(d))
}

// Nak gives the group back to the queue, to be redelivered at once.
func (g *Group) Nak() error { return g.NakWithDelay(atOnce) }
