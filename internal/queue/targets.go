// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// Use makes the queue keep everything that is accepted from now on until each
// of the targets has it. The function it returns ends that.
//
// What waits for a target that is no longer used is kept for MaxAge, in case it
// returns. It is deleted earlier only if the queue is full, or by [Queue.Drop].
// A new target starts with what waits for the others in targets, or, if there
// are none, with everything that is stored.
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
	before := q.configured
	q.configured = slices.Clone(targets)
	// If the cluster is away, repairLoop does it later, and until then the
	// queue accepts nothing.
	if err = q.reconnect(); err == nil && (q.server != nil || q.nc().IsConnected()) {
		err = q.prepare(ctx)
	} else if err == nil {
		err = q.notConnected()
	}
	switch {
	case err == nil:
	case q.server == nil:
		q.prepared.Store(false)
		q.available.clear()
	default:
		q.configured = before
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

func (q *Queue) inUse(target string) bool {
	q.change.RLock()
	defer q.change.RUnlock()
	return q.targets[target] > 0
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
	return q.ensureConsumer(ctx, target, parked)
}
