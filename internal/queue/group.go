// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
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
	stored time.Time // zero if msg is not from the store
}

// WithoutRecords returns the same group without its records, to be acknowledged
// later without keeping them in memory.
func (g *Group) WithoutRecords() *Group {
	return &Group{WasParked: g.WasParked, Sequence: g.Sequence, q: g.q, target: g.target, msg: &nats.Msg{Reply: g.msg.Reply}, stored: g.stored}
}

// Ack acknowledges the group: every record was delivered, parked again or
// stored as a dead letter. It returns once the store has confirmed it. While
// the embedded store is being reopened it waits, so that nothing is delivered
// twice. After an error the group may be redelivered; an external store is sent
// the acknowledgement again until it confirms it.
func (g *Group) Ack() error {
	if g.q.server != nil {
		return g.q.acknowledge(g.msg.Reply, ackReplyTimeout)
	}
	err := g.q.acknowledge(g.msg.Reply, externalAckTimeout)
	switch key := (ackKey{position{g.target, g.Sequence}, g.WasParked}); {
	case err == nil:
		g.q.lateAcks.remove(key)
	case !g.stored.IsZero():
		g.q.lateAcks.add(key, lateAck{g.msg.Reply, g.stored, time.Now()})
	}
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
