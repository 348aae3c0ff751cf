// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"fmt"
	"time"
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
	reply  string    // where the store takes its acknowledgement
	stored time.Time // zero if it is not from the store
	handed *handed   // in place of both, if it was handed over
}

// WithoutRecords returns the same group without its records, to be acknowledged
// later without keeping them in memory.
func (g *Group) WithoutRecords() *Group {
	bare := *g
	bare.Parked, bare.Behind = Parked{}, 0
	return &bare
}

// Ack acknowledges the group: every record was delivered, parked again or
// stored as a dead letter. It returns once the store has confirmed it, or at
// once if the group was handed over: the store is told within 100 ms. While
// the embedded store is being reopened it waits, so that nothing is delivered
// twice. After an error the group may be redelivered; an external store is sent
// the acknowledgement again until it confirms it.
func (g *Group) Ack() error {
	reply := g.reply
	if g.handed != nil {
		var err error
		if reply, err = g.q.handover.ack(g); reply == "" {
			return err
		}
	}
	if g.q.server != nil {
		return g.q.acknowledge(reply, ackReplyTimeout)
	}
	err := g.q.acknowledge(reply, externalAckTimeout)
	if err != nil && !g.stored.IsZero() {
		g.q.lateAcks.add(lateAck{reply, g.WasParked, g.Sequence, g.stored, time.Now()})
	}
	return err
}

// InProgress extends the time until the group is redelivered.
func (g *Group) InProgress() error {
	reply := g.reply
	if g.handed != nil {
		if reply = g.q.handover.replyOf(g.handed); reply == "" {
			return nil // it has no such time yet
		}
	}
	return g.q.nc().Publish(reply, ackProgress)
}

// NakWithDelay gives the group back to the queue, to be redelivered after d, or
// at once if it was handed over and the store has not given it out.
func (g *Group) NakWithDelay(d time.Duration) error {
	if !g.WasParked {
		g.q.trimming.note(position{g.target, g.Sequence})
		defer g.q.handover.returned()
	}
	reply := g.reply
	if g.handed != nil {
		if reply = g.q.handover.nak(g); reply == "" {
			return nil
		}
	}
	return g.q.nc().Publish(reply, nakAfter(d))
}

// Nak gives the group back to the queue, to be redelivered at once.
func (g *Group) Nak() error { return g.NakWithDelay(atOnce) }
