// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// trimInterval is how long a group stays in the stream after the last target
// has settled it.
//
// JetStream could remove each by itself (its retention by interest). But each
// removal is a record of its own in the file, with "sync always" an fsync of
// its own while the stream takes no writes: that made accepting wait three
// times as long while notifications were delivered. What is removed here is
// removed together, and nothing is lost if that is forgotten in a crash.
const trimInterval = time.Second

// returnedPause is how long nothing is trimmed after a group was returned. A
// stream that is purged forgets which messages are to be given out again at
// once, and gives them out after [AckWait] only.
const returnedPause = 3 * time.Second

// trimming keeps groups from being returned while a stream is purged.
type trimming struct {
	mu   sync.RWMutex // held while something is trimmed; shared by what is returned
	last atomic.Int64 // when a group was returned the last time, in Unix nanoseconds
}

// returning waits for the end of a purge. What it returns is called when the
// group was returned.
func (q *Queue) returning() (done func()) {
	q.trimming.mu.RLock()
	q.trimming.last.Store(time.Now().UnixNano())
	return q.trimming.mu.RUnlock
}

// trimLoop removes what all targets have, after they have settled something,
// and everything while there is no target.
func (q *Queue) trimLoop() {
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
	for {
		select {
		case <-q.ctx.Done():
			return
		case <-tick.C:
		}
		if !q.isReady() || !q.settled.Swap(false) && q.hasTargets() {
			continue
		}
		if err := q.trim(q.ctx); err != nil {
			q.settled.Store(true)
			q.log.Debug("could not remove what all targets have", "error", err)
		}
	}
}

func (q *Queue) hasTargets() bool {
	q.change.RLock()
	defer q.change.RUnlock()
	return len(q.targets) > 0
}

// trim removes what all targets have, or everything if there is none.
func (q *Queue) trim(ctx context.Context) error {
	q.trimming.mu.Lock()
	defer q.trimming.mu.Unlock()
	if time.Since(time.Unix(0, q.trimming.last.Load())) < returnedPause {
		q.settled.Store(true) // later
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of names that were not read to their end
	stream, err := q.js.Stream(ctx, q.names.stream)
	if err != nil {
		return err
	}
	// The order matters: a target that is made later begins with what is
	// accepted later.
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	upTo := state.LastSeq
	names := stream.ConsumerNames(ctx)
	for name := range names.Name() {
		// One by one: a list of all leaves out those that the cluster cannot
		// tell anything about right now.
		consumer, err := stream.Consumer(ctx, name)
		if err != nil {
			return err
		}
		upTo = min(upTo, consumer.CachedInfo().AckFloor.Stream)
	}
	if err := names.Err(); err != nil {
		return err
	}
	if upTo < state.FirstSeq {
		return nil
	}
	return stream.Purge(ctx, jetstream.WithPurgeSequence(upTo+1))
}
