// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// settleInterval is how long the position of a target in the store stays
	// behind what it has acknowledged. So much is delivered again after a crash.
	settleInterval = 100 * time.Millisecond
	// settleWait is how long the store may take to give out what it has.
	settleWait = 100 * time.Millisecond
	// settleTimeout is how long one pass over all targets may take.
	settleTimeout = 5 * time.Second
	// settleSize bounds the memory of what is read together, in bytes.
	settleSize = 4 << 20
	// settleAge is how long it is remembered that the target has acknowledged
	// what the store has given to somebody who has not: it gives that out again
	// after [AckWait].
	settleAge = 2 * AckWait
)

// settleLoop settles, soon after something was acknowledged.
func (q *Queue) settleLoop() {
	for {
		select {
		case <-q.ctx.Done():
			return
		case <-q.handover.unsettled:
		}
		select {
		case <-q.ctx.Done():
			return
		case <-time.After(settleInterval):
		}
		q.settle(q.ctx)
	}
}

// settle acknowledges in the store what was handed over and acknowledged by its
// target, for all targets. What cannot be acknowledged is later.
func (q *Queue) settle(ctx context.Context) {
	h := q.handover
	if h == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	h.mu.Lock()
	heads := maps.Clone(h.heads)
	h.mu.Unlock()
	for target, t := range heads {
		if err := q.settleTarget(ctx, target, t); err != nil {
			q.log.Debug("could not acknowledge in the store what a target has acknowledged", "target", target, "error", err)
			h.behind(target) // its position may have been removed: the reader makes it again
			h.signal()
		}
	}
}

// settleTarget does nothing while a reader reads from the store: it settles what
// it gets.
func (q *Queue) settleTarget(ctx context.Context, target string, t *head) error {
	h := q.handover
	if !t.reading.TryLock() {
		h.signal()
		return nil
	}
	defer t.reading.Unlock()
	for {
		if err := q.ackSettled(ctx, t); err != nil {
			return err
		}
		h.mu.Lock()
		acked, unread := t.acked, t.unread
		h.mu.Unlock()
		if acked == 0 {
			return nil
		}
		n, err := q.readHanded(ctx, target, t, unread)
		if err != nil {
			q.closeHead(target, t)
			return err
		}
		if n == 0 {
			if h.expire(t) {
				h.signal()
			}
			return nil
		}
	}
}

// readHanded reads up to most groups that were handed over from the store, and
// returns how many came.
func (q *Queue) readHanded(ctx context.Context, target string, t *head, most int) (n int, err error) {
	if t.pull == nil {
		if t.pull, err = newPuller(q.nc(), q.names.stream, target, settleWait); err != nil {
			return 0, err
		}
	}
	messages, err := t.pull.fetch(ctx, most, settleSize)
	q.giveBack(target, q.unknown(target, messages))
	return len(messages), errors.Join(err, ctx.Err())
}

// unknown notes that the store gives out messages, and returns those that were
// not handed over before.
func (q *Queue) unknown(target string, messages []*nats.Msg) []*nats.Msg {
	return slices.DeleteFunc(messages, func(msg *nats.Msg) bool { return q.handover.read(target, msg) })
}

// giveBack returns messages that nobody takes now: somebody has returned them
// before.
func (q *Queue) giveBack(target string, messages []*nats.Msg) {
	r := q.NewReader(target)
	for _, msg := range messages {
		_ = r.group(msg).Nak()
	}
}

// ackSettled acknowledges what the store has given out and the target has
// acknowledged.
func (q *Queue) ackSettled(ctx context.Context, t *head) error {
	numbers, replies := q.handover.toAck(t)
	if len(replies) == 0 {
		return nil
	}
	// The store reads them in their order: its last answer is one for all.
	last := len(replies) - 1
	for _, reply := range replies[:last] {
		if err := q.nc().Publish(reply, ackDone); err != nil {
			return fmt.Errorf("acknowledging: %w", err)
		}
	}
	if _, err := q.nc().RequestWithContext(ctx, replies[last], ackDone); err != nil {
		return fmt.Errorf("acknowledging: %w", err)
	}
	q.handover.settled(t, numbers)
	q.acked.Store(true)
	return nil
}

// closeHead ends the reading of what was handed over. t.reading is held.
func (q *Queue) closeHead(target string, t *head) {
	if t.pull != nil {
		q.giveBack(target, q.unknown(target, t.pull.close()))
		t.pull = nil
	}
}

// forgetUnused forgets the targets that are not in use, or all. Nobody reads
// for them any more.
func (q *Queue) forgetUnused(all bool) {
	h := q.handover
	if h == nil {
		return
	}
	unused := make(map[string]*head)
	q.change.RLock()
	h.mu.Lock()
	for target, t := range h.heads {
		if all || q.targets[target] == 0 {
			unused[target] = t
			delete(h.heads, target)
		}
	}
	h.mu.Unlock()
	q.change.RUnlock()
	for target, t := range unused {
		t.reading.Lock()
		q.closeHead(target, t)
		t.reading.Unlock()
	}
}
