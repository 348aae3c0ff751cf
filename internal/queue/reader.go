// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// AckWait is how long a group may stay unacknowledged until it is
	// redelivered. [Group.InProgress] restarts this time.
	AckWait = 30 * time.Second
	// externalWait is how long one request for more waits at a NATS server:
	// one that a server forgot, which happens in a cluster, costs no more.
	externalWait = 500 * time.Millisecond
	// atOnce is a delay because, other than its absence, the store remembers
	// it over a restart.
	atOnce = time.Millisecond
)

// embeddedWait is the same at the embedded server, which forgets none while the
// connection lasts. Each request wakes a dozen goroutines, also when nothing has
// come for days.
var embeddedWait = 30 * time.Second

// ErrNoMore means that nothing came for a while; ask again.
var ErrNoMore = errors.New("nothing is waiting")

// Reader takes one target's notifications out of the queue. Several readers
// of the same target, in this process or in others, share them. A Reader is
// used by one goroutine at a time.
type Reader struct {
	q      *Queue
	target string
	parked bool
	pull   *puller // nil before the first Take, and after an error
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

// Take takes up to most groups of up to size bytes together, but at least one,
// waiting for the first until ctx ends, or for a while ([ErrNoMore]). A group has
// no records if all of them are in others that were stored before, or if it was
// acknowledged already. It is redelivered unless [Group.Ack] or
// [Group.InProgress] is called within [AckWait].
func (r *Reader) Take(ctx context.Context, most, size int) ([]*Group, error) {
	messages, err := r.fetch(ctx, most, size)
	groups := make([]*Group, 0, len(messages))
	for _, msg := range messages {
		g, damage := r.read(ctx, msg)
		if damage != nil {
			err = errors.Join(err, r.term(ctx, msg, damage))
			continue
		}
		groups = append(groups, g)
	}
	if len(groups) > 0 {
		return groups, nil // the error comes again, or is in the log
	}
	return nil, err
}

// NearLimit reports whether so many groups are taken or delayed that the others
// will soon have to wait for them.
func (r *Reader) NearLimit(ctx context.Context) bool {
	limit := maxHeldGroups
	if r.parked {
		limit = maxHeldParked
	}
	consumer, err := r.q.consumer(ctx, r.target, r.parked)
	return err == nil && consumer.CachedInfo().NumAckPending > limit*3/4
}

// Close gives back groups that arrived too late for a Take.
func (r *Reader) Close() {
	if r.pull == nil {
		return
	}
	for _, msg := range r.pull.close() {
		g := r.group(msg)
		_ = g.Nak()
	}
	r.pull = nil
}

func (r *Reader) fetch(ctx context.Context, most, size int) ([]*nats.Msg, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.pull == nil {
		_, err := r.q.consumer(ctx, r.target, r.parked)
		if err != nil {
			return nil, err
		}
		wait := embeddedWait
		if r.q.server == nil {
			wait = externalWait
		}
		if r.pull, err = newPuller(r.q.nc(), r.q.streamOf(r.parked), r.target, wait); err != nil {
			return nil, err
		}
	}
	messages, err := r.pull.fetch(ctx, most, size)
	if err != nil { // the position may have been removed: make it again
		r.Close()
		return messages, fmt.Errorf("%w: reading for target %s: %w", ErrUnavailable, r.target, err)
	}
	if len(messages) == 0 {
		return nil, ErrNoMore
	}
	return messages, nil
}

func (r *Reader) read(ctx context.Context, msg *nats.Msg) (g *Group, err error) {
	g = r.group(msg)
	if r.parked {
		g.Parked, err = parseParked(msg)
		return g, err
	}
	r.q.trimming.taken(position{r.target, g.Sequence})
	if r.q.lateAcks.has(ackKey{position: position{r.target, g.Sequence}}, g.stored) {
		return g, nil
	}
	g.Records, err = parseGroup(msg.Data)
	if shared := r.q.shared; shared != nil {
		shared.await(ctx, g.Sequence)
		if repeated := shared.repeated(g.Sequence, g.stored, msg.Header); repeated != nil {
			r.q.log.Debug("leaving out what another one has stored before", "target", r.target, "notifications", len(repeated))
			g.Records = slices.DeleteFunc(g.Records, func(r Record) bool { return repeated[r.ID] })
		}
	}
	return g, err
}

// group returns the group of msg without its records. Its number is 0 if msg is
// not from the store.
func (r *Reader) group(msg *nats.Msg) *Group {
	g := &Group{WasParked: r.parked, q: r.q, target: r.target, msg: msg}
	if meta, err := msg.Metadata(); err == nil {
		g.Sequence, g.Behind, g.stored = meta.Sequence.Stream, meta.NumPending, meta.Timestamp
	}
	return g
}

// term terminates the delivery of a message that cannot be read, and
// makes a dead letter of it.
func (r *Reader) term(ctx context.Context, msg *nats.Msg, damage error) error {
	damage = fmt.Errorf("target %s: %w", r.target, damage)
	r.q.log.Error("storing damaged notifications as a dead letter", "target", r.target, "error", damage)
	letter := nats.NewMsg(r.q.names.dead + "." + r.target)
	letter.Header.Set(headerReason, reasonDamaged)
	letter.Data = msg.Data
	if err := r.q.publish(ctx, r.q.names.deadStream, letter); err != nil {
		return errors.Join(damage, err)
	}
	return errors.Join(damage, r.q.nc().Publish(msg.Reply, ackTerm))
}
