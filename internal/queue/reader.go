// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// AckWait is how long a reader may hold what it took without a word.
	// After that the queue gives it to another reader; [Group.Keep] and
	// [Parked.Keep] start the time anew.
	AckWait = 30 * time.Second
	// pollWait is how long one request for more waits at the server. A
	// reader ends between two of them, so that no message is ever on its way
	// to a reader that has gone.
	pollWait = 500 * time.Millisecond
	// atOnce is a delay because, other than its absence, the store remembers
	// it over a restart.
	atOnce = time.Millisecond
)

// ErrNoMore means that nothing was waiting within a moment; ask again.
var ErrNoMore = errors.New("nothing is waiting")

// Reader takes one target's notifications out of the queue. Several readers
// of the same target, in this process or in others, share them. A Reader is
// used by one goroutine at a time.
type Reader struct {
	q      *Queue
	target string
	parked bool
	cons   jetstream.Consumer
}

// NewReader returns the reader of what was accepted, for one target in use
// (see [Queue.Use]).
func (q *Queue) NewReader(target string) *Reader {
	return &Reader{q: q, target: target}
}

// NewParkedReader returns the reader of the records parked for target.
func (q *Queue) NewParkedReader(target string) *Reader {
	return &Reader{q: q, target: target, parked: true}
}

// next takes one message. It returns [ErrNoMore] after a moment without one.
func (r *Reader) next(ctx context.Context) (jetstream.Msg, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.cons == nil {
		cons, err := r.q.consumer(ctx, r.target, r.parked)
		if err != nil {
			return nil, err
		}
		r.cons = cons
	}
	msg, err := r.cons.Next(jetstream.FetchMaxWait(pollWait))
	switch {
	case err == nil:
		return msg, nil
	case errors.Is(err, nats.ErrTimeout):
		return nil, ErrNoMore
	default:
		r.cons = nil // it may have been removed: make it again
		return nil, fmt.Errorf("%w: reading for target %s: %w", ErrUnavailable, r.target, err)
	}
}

// Group is what a reader holds: some records that were accepted together.
type Group struct {
	Records []Record
	q       *Queue
	msg     jetstream.Msg
}

// Next takes the next group, waiting a moment for one ([ErrNoMore]). A group
// is given out again if it is not settled, or kept, within [AckWait].
func (r *Reader) Next(ctx context.Context) (*Group, error) {
	msg, err := r.next(ctx)
	if err != nil {
		return nil, err
	}
	records, err := parseGroup(msg.Data())
	if err != nil {
		return nil, r.setAside(ctx, msg, err)
	}
	return &Group{Records: records, q: r.q, msg: msg}, nil
}

// setAside makes a dead letter of a message that nobody will ever be able to
// read.
func (r *Reader) setAside(ctx context.Context, msg jetstream.Msg, damage error) error {
	damage = fmt.Errorf("target %s: %w", r.target, damage)
	r.q.log.Error("setting damaged notifications aside", "target", r.target, "error", damage)
	letter := nats.NewMsg(r.q.names.dead + "." + r.target)
	letter.Header.Set(headerReason, "damaged")
	letter.Data = msg.Data()
	if err := r.q.publish(ctx, r.q.names.deadStream, letter); err != nil {
		return errors.Join(damage, err)
	}
	return errors.Join(damage, msg.Term())
}

// Settle tells the queue that every record of the group was delivered, parked
// or buried.
func (g *Group) Settle() error { return g.q.settle(g.msg) }

// settle returns once the store knows it. While the store is opened anew it
// waits, so that nothing is delivered twice for that.
func (q *Queue) settle(msg jetstream.Msg) error {
	q.change.RLock()
	defer q.change.RUnlock()
	return msg.DoubleAck(q.up)
}

// Return gives the group back to the queue, to be taken again at once.
func (g *Group) Return() error { return g.msg.NakWithDelay(atOnce) }

// Keep tells the queue that the group is still being worked on.
func (g *Group) Keep() error { return g.msg.InProgress() }
