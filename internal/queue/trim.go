// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// trimInterval is how long a group stays in the stream after the last target
// has acknowledged it.
//
// JetStream could remove each automatically (its retention by interest). But
// each removal is a record of its own in the file, with "sync always" an fsync
// of its own while the stream takes no writes: that made accepting wait three
// times as long while notifications were delivered. What is removed here is
// removed together, and nothing is lost if that is forgotten in a crash.
const trimInterval = time.Second

// trimming keeps groups that were returned from getting lost for a while. A
// stream that is purged forgets which messages are to be given out again at
// once, and gives them out after [AckWait] only. So nothing is trimmed from
// the return of a group until somebody has taken it again.
//
// What others return who share the store is not known here. It is late then,
// by AckWait at most.
type trimming struct {
	purge    sync.RWMutex // held while a stream may be purged
	mu       sync.Mutex
	returned map[position]time.Time // when; guarded by mu
}

// position tells a group of one target from all others that are accepted.
type position struct {
	target   string
	sequence uint64
}

// note that a group is about to be returned. It waits for the end of a purge.
func (t *trimming) note(p position) {
	t.mu.Lock()
	if t.returned == nil {
		t.returned = make(map[position]time.Time)
	}
	t.returned[p] = time.Now()
	t.mu.Unlock()
	t.purge.RLock() // one that did not see it
	defer t.purge.RUnlock()
}

// taken notes that a group was given out.
func (t *trimming) taken(p position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.returned, p)
}

// awaits reports whether a group that was returned is still to be taken. After
// AckWait it does not matter any more.
func (t *trimming) awaits() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.returned, func(_ position, at time.Time) bool { return time.Since(at) > AckWait })
	return len(t.returned) > 0
}

// trimLoop removes what all targets have, after they have acknowledged
// something, and everything while there is no target.
func (q *Queue) trimLoop() {
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
	for {
		select {
		case <-q.ctx.Done():
			return
		case <-tick.C:
		}
		if !q.isReady() || !q.acked.Swap(false) && q.hasTargets() {
			continue
		}
		if err := q.trim(q.ctx, false); err != nil {
			q.acked.Store(true)
			q.log.Debug("could not remove what all targets have", "error", err)
		}
	}
}

func (q *Queue) hasTargets() bool {
	q.change.RLock()
	defer q.change.RUnlock()
	return len(q.targets) > 0
}

// isTarget tells the position of a target from the reader of a journal.
func isTarget(info *jetstream.ConsumerInfo) bool { return info.Config.Durable != "" }

// trim removes what all targets have and all journals cover. A journal that is
// not written any more keeps it only until the queue is full: what it is for must
// not stop notifications from being accepted.
func (q *Queue) trim(ctx context.Context, full bool) error {
	q.trimming.purge.Lock()
	defer q.trimming.purge.Unlock()
	if q.trimming.awaits() {
		q.acked.Store(true) // later
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of names that were not read to their end
	stream, err := q.js().Stream(ctx, q.names.stream)
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
		if info := consumer.CachedInfo(); isTarget(info) {
			upTo = min(upTo, info.AckFloor.Stream)
		}
	}
	if err := names.Err(); err != nil {
		return err
	}
	q.change.RLock()
	covered, err := q.journals.covered(ctx)
	q.change.RUnlock()
	switch stuck := q.journals.areStuck(covered, upTo); {
	case stuck && full:
		q.log.Warn("the queue is full, and a journal has not been written for a while: what it does not have is removed", "error", err)
	case err != nil:
		return err
	case covered < upTo:
		upTo = covered
		q.acked.Store(true) // the rest later
	}
	if upTo < state.FirstSeq {
		return nil
	}
	return stream.Purge(ctx, jetstream.WithPurgeSequence(upTo+1))
}
