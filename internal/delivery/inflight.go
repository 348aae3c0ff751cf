// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// maxUnacked bounds how many groups that will be redelivered a target
	// remembers.
	maxUnacked = 1024
	// jobSize is the memory of a job besides the body of its notification, in
	// bytes.
	jobSize = 320
)

// batch is a group of the queue and its jobs. When the last job has ended, the
// group is acknowledged.
type batch struct {
	group     acker
	id        groupID
	jobs      []job
	ended     map[jobID]struct{} // in an earlier delivery, see redelivered
	remaining atomic.Int32
	size      int       // in bytes
	oldest    time.Time // when the oldest of its notifications was accepted
	extended  time.Time // when its deadline was extended; guarded by inflight.mu
}

// add adds j, unless it ended in an earlier delivery of the group.
func (b *batch) add(j job) {
	if _, ended := b.ended[j.id()]; ended {
		return
	}
	if b.oldest.IsZero() || j.record.Accepted.Before(b.oldest) {
		b.oldest = j.record.Accepted
	}
	b.size += jobSize + len(j.record.Body)
	b.jobs = append(b.jobs, j)
}

// acker is a [queue.Group].
type acker interface {
	InProgress() error
	Ack() error
	Nak() error
}

// groupID identifies a group of a target.
type groupID struct {
	parked   bool
	sequence uint64
}

// inflight holds the batches in progress. Nothing more is taken from the queue
// while they have limit bytes or more: in the queue it is safe and takes no
// memory.
type inflight struct {
	limit int

	mu      sync.Mutex
	batches map[groupID]*batch
	size    int
	// capacity is closed and replaced when more may be taken, if awaited.
	capacity chan struct{}
	awaited  bool
	// ended are the finished jobs of groups that could not be acknowledged:
	// these groups will be redelivered.
	ended map[groupID]map[jobID]struct{}
}

func newInflight(limit int) *inflight {
	return &inflight{
		limit: limit, batches: make(map[groupID]*batch), capacity: make(chan struct{}),
		ended: make(map[groupID]map[jobID]struct{}),
	}
}

// add adds a batch whose jobs are complete.
func (f *inflight) add(h *batch) {
	h.remaining.Store(int32(len(h.jobs)))
	f.mu.Lock()
	defer f.mu.Unlock()
	h.extended = time.Now()
	f.batches[h.id] = h
	f.size += h.size
}

// free returns how many bytes may still be taken.
func (f *inflight) free() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.limit - f.size
}

// count returns the number of batches.
func (f *inflight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.batches)
}

// wait returns a channel that is closed when more may be taken.
func (f *inflight) wait() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.awaited = true
	return f.capacity
}

// signal makes all waiters check again.
func (f *inflight) signal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.signalLocked()
}

// signalLocked is signal while f.mu is held.
func (f *inflight) signalLocked() {
	if f.awaited {
		close(f.capacity)
		f.capacity, f.awaited = make(chan struct{}), false
	}
}

// release removes a batch.
func (f *inflight) release(h *batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.batches, h.id)
	f.size -= h.size
	f.signalLocked()
}

// finish ends j. The last job of a batch acknowledges its group; lost is the
// error of that.
func (f *inflight) finish(j *job, acked bool) (lost error) {
	h := j.from
	j.unacked = !acked
	if h.remaining.Add(-1) > 0 {
		return nil
	}
	defer f.release(h)
	for i := range h.jobs {
		if h.jobs[i].unacked {
			f.rememberEnded(h)
			return nil
		}
	}
	if lost = h.group.Ack(); lost != nil {
		f.rememberEnded(h)
	}
	return lost
}

// rememberEnded remembers the jobs of a batch that must not be delivered again
// when its group is redelivered.
func (f *inflight) rememberEnded(h *batch) {
	if h.ended == nil {
		h.ended = make(map[jobID]struct{})
	}
	for i := range h.jobs {
		if !h.jobs[i].unacked {
			h.ended[h.jobs[i].id()] = struct{}{}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.ended) >= maxUnacked {
		clear(f.ended)
	}
	f.ended[h.id] = h.ended
}

// contains reports whether a group is in flight, or was and could not be
// acknowledged.
func (f *inflight) contains(id groupID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.batches[id] != nil || f.ended[id] != nil
}

// redelivered returns the jobs of a group that ended in an earlier delivery,
// and forgets them. held means that the group is still in flight: its deadline
// was not extended in time.
func (f *inflight) redelivered(id groupID) (ended map[jobID]struct{}, held bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ended = f.ended[id]
	delete(f.ended, id)
	return ended, f.batches[id] != nil
}

// oldest returns when the oldest notification in flight was accepted, or zero.
func (f *inflight) oldest() (oldest time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.batches {
		if oldest.IsZero() || h.oldest.Before(oldest) {
			oldest = h.oldest
		}
	}
	return oldest
}

const (
	// extendAfter is how long after the last extension a group is extended
	// again.
	extendAfter = queue.AckWait / 3
	// extendInterval is how often such groups are looked for. Each is extended
	// at its own time, so that a target that hangs with thousands of groups
	// does not burden the store with all of them at once.
	extendInterval = queue.AckWait / 60
	// extendIdle is how long nothing is looked for when nothing was in flight.
	extendIdle = extendAfter / 2
)

// extendLoop extends the deadlines of batches in flight, even while the breaker
// is open for hours.
func (f *inflight) extendLoop(done <-chan struct{}) {
	timer := time.NewTimer(extendIdle)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-timer.C:
			for _, group := range f.stale(now) {
				_ = group.InProgress()
			}
		}
		if f.count() == 0 {
			timer.Reset(extendIdle)
		} else {
			timer.Reset(extendInterval)
		}
	}
}

// stale returns the groups that are due for an extension, and marks them as
// extended.
func (f *inflight) stale(now time.Time) (groups []acker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.batches {
		if now.Sub(h.extended) >= extendAfter {
			h.extended = now
			groups = append(groups, h.group)
		}
	}
	return groups
}
