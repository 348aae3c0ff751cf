// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The headers of parked and buried records.
const (
	headerAttempts = "Dovecot-Push-Attempts"
	headerDue      = "Dovecot-Push-Due"
	headerReason   = "Dovecot-Push-Reason"
	// headerDestination is only there where a target has several.
	headerDestination = "Dovecot-Push-Destination"
)

// Parked is a record waiting for its next attempt at one target.
type Parked struct {
	Record
	// Attempts is how many attempts have failed so far.
	Attempts int
	// Due is when the next one may be made, to the millisecond.
	Due time.Time
	// Reason is why the last one failed: one of a bounded set of words.
	Reason string

	q   *Queue
	msg jetstream.Msg
}

// Park stores p for a later attempt at target. When it returns without an
// error the record is durable, and the group it came in, or the earlier
// parking, may be settled.
func (q *Queue) Park(ctx context.Context, target string, p Parked) error {
	return q.store(ctx, q.names.parkedStream, q.names.park+"."+target, p)
}

// Bury stores p as a dead letter of target. Due means nothing then.
func (q *Queue) Bury(ctx context.Context, target string, p Parked) error {
	return q.store(ctx, q.names.deadStream, q.names.dead+"."+target, p)
}

func (q *Queue) store(ctx context.Context, stream, subject string, p Parked) error {
	msg := nats.NewMsg(subject)
	msg.Header.Set(headerAttempts, strconv.Itoa(p.Attempts))
	msg.Header.Set(headerDue, strconv.FormatInt(p.Due.UnixMilli(), 10))
	msg.Header.Set(headerReason, p.Reason)
	if p.Destination != "" {
		msg.Header.Set(headerDestination, p.Destination)
	}
	msg.Data = appendRecord([]byte{groupVersion}, &p.Record)
	return q.publish(ctx, stream, msg)
}

// NextParked takes the next parked record, due or not, waiting a moment for
// one ([ErrNoMore]).
func (r *Reader) NextParked(ctx context.Context) (*Parked, error) {
	msg, err := r.next(ctx)
	if err != nil {
		return nil, err
	}
	p, err := parseParked(msg)
	if err != nil {
		return nil, r.setAside(ctx, msg, err)
	}
	p.q = r.q
	return p, nil
}

func parseParked(msg jetstream.Msg) (*Parked, error) {
	records, err := parseGroup(msg.Data())
	if err != nil {
		return nil, err
	}
	if len(records) != 1 {
		return nil, fmt.Errorf("%w: %d records in place of one", errCorruptGroup, len(records))
	}
	p := &Parked{Record: records[0], Reason: msg.Headers().Get(headerReason), msg: msg}
	p.Destination = msg.Headers().Get(headerDestination)
	if p.Attempts, err = strconv.Atoi(msg.Headers().Get(headerAttempts)); err != nil {
		return nil, fmt.Errorf("%w: attempts: %w", errCorruptGroup, err)
	}
	due, err := strconv.ParseInt(msg.Headers().Get(headerDue), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: due time: %w", errCorruptGroup, err)
	}
	p.Due = time.UnixMilli(due)
	return p, nil
}

// Settle tells the queue that p was delivered, parked anew or buried.
func (p *Parked) Settle() error { return p.q.settle(p.msg) }

// Keep tells the queue that p is still being worked on.
func (p *Parked) Keep() error { return p.msg.InProgress() }

// Postpone gives p back to the queue, to be taken again after d.
func (p *Parked) Postpone(d time.Duration) error { return p.msg.NakWithDelay(max(d, atOnce)) }

// Return gives p back to the queue, to be taken again at once.
func (p *Parked) Return() error { return p.Postpone(atOnce) }
