// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxHeldGroups bounds what all readers of one target hold together.
	maxHeldGroups = 1000
	// maxHeldParked is how many parked records of one target the server
	// watches the due time of; those beyond wait for their turn.
	maxHeldParked = 10_000
)

// Use makes the queue keep everything that is accepted from now on until each
// of the targets has it. The function it returns ends that.
//
// What waits for a target that nobody uses any more is kept for MaxAge, in
// case it comes back, and given up earlier only when the queue is full.
func (q *Queue) Use(ctx context.Context, targets []string) (release func(), err error) {
	q.change.Lock()
	defer q.change.Unlock()
	for _, target := range targets {
		if !ValidName(target) {
			return nil, fmt.Errorf("target name %q must be 1 to 64 of A-Z a-z 0-9 _ -", target)
		}
	}
	for _, target := range targets {
		q.targets[target]++
	}
	// Where the cluster is away the keeper does it later, and until then the
	// queue takes nothing in.
	if q.server != nil || q.nc.IsConnected() {
		err = q.prepare(ctx)
	} else {
		err = q.notConnected()
	}
	switch {
	case err == nil:
	case q.server == nil:
		q.ready.Store(false)
		q.wakeKeeper()
	default:
		q.unuse(targets)
		return nil, err
	}
	return sync.OnceFunc(func() {
		q.change.Lock()
		defer q.change.Unlock()
		q.unuse(targets)
	}), nil
}

func (q *Queue) unuse(targets []string) {
	for _, target := range targets {
		if q.targets[target]--; q.targets[target] <= 0 {
			delete(q.targets, target)
		}
	}
}

// consumer returns the position of a target in use.
func (q *Queue) consumer(ctx context.Context, target string, parked bool) (jetstream.Consumer, error) {
	q.change.RLock()
	defer q.change.RUnlock()
	if q.targets[target] == 0 {
		return nil, fmt.Errorf("%w: target %s is not in use", ErrUnavailable, target)
	}
	if !q.isReady() {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, errNotReady)
	}
	return q.makeConsumer(ctx, target, parked)
}

func (q *Queue) makeConsumer(ctx context.Context, target string, parked bool) (jetstream.Consumer, error) {
	stream := q.names.stream
	cfg := jetstream.ConsumerConfig{
		Durable:       target,
		Description:   "what this target still has to get",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       AckWait,
		MaxDeliver:    -1,
		MaxAckPending: maxHeldGroups,
		// A new target starts with what waits for the others: the same rule
		// as after the loss of a reader's position.
		DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	if parked {
		stream = q.names.parkedStream
		cfg.Description = "notifications waiting for their next attempt"
		cfg.FilterSubject = q.names.park + "." + target
		cfg.MaxAckPending = maxHeldParked
	}
	cons, err := q.js.CreateOrUpdateConsumer(ctx, stream, cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: preparing target %s: %w", ErrUnavailable, target, err)
	}
	return cons, nil
}
