// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

const (
	// maxGroupRecords and maxGroupBytes bound one group. A single larger
	// notification is a group of its own.
	maxGroupRecords = 1024
	maxGroupBytes   = 512 << 10
	// maxWaitingGroups bounds the memory of what waits to be written, at some 8
	// MiB, or 128 MiB if each is one notification of [MaxBody]. Further callers
	// wait.
	maxWaitingGroups = 16
	// slowWrite is from when on a write takes so long that it is worth waiting
	// for those who will come. On a faster disk the processor is what limits:
	// to wait there made 32 connections slower by an eighth.
	slowWrite = 2 * time.Millisecond
	// maxGather bounds that waiting where a write once took seconds.
	maxGather = 5 * time.Millisecond
	// maxSpares is how many buffers are kept: one is written, one filled.
	maxSpares = 2
)

// commit is one group on its way to the disk. Everybody with a record in it
// waits for it.
type commit struct {
	group   []byte // in the form in which it is stored
	records int
	began   time.Time // when the first record came
	// ids are its entries in dedup.
	ids []notification.Identity
	// sharedIDs are what others need to recognize duplicates, see [headerIDs].
	sharedIDs []byte
	// done is closed once err is final: for all at once, because each waking
	// has its price.
	done chan struct{}
	err  error
}

func (c *commit) wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return fmt.Errorf("%w: not written yet: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// batcher collects records into groups while the previous group is written
// (group commit).
type batcher struct {
	mu    sync.Mutex
	dedup *dedup
	// shared knows what others have stored; nil where there are none.
	shared *shared
	// groups wait to be written, oldest first. New records go into the last
	// one.
	groups   []*commit
	arrived  sync.Cond // groups is no longer empty, or closed changed
	capacity chan struct{}
	closed   bool
	spares   [][]byte
	// senders is how many records were on their way when the last write ended,
	// and usual is how long a write has taken of late.
	senders int
	usual   time.Duration
}

func newBatcher(others *shared) *batcher {
	g := &batcher{dedup: newDedup(), shared: others, capacity: make(chan struct{})}
	g.arrived.L = &g.mu
	return g
}

// add adds r to a group and returns what to wait for. For a duplicate that is
// the group of the first copy, or nil if that is already written. limit is how
// large a group may become, in bytes. Only a group of r alone may be larger.
func (b *batcher) add(ctx context.Context, r *Record, dedupFor time.Duration, limit int) (c *commit, duplicate bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if b.closed {
			return nil, false, ErrClosed
		}
		if dedupFor > 0 {
			if written, other := b.dedup.find(r.ID, dedupFor); written || other != nil {
				return other, true, nil
			}
			if b.shared != nil && b.shared.knows(r.ID, dedupFor) {
				return nil, true, nil
			}
		}
		if c := b.current(r.maxSize(), limit); c != nil {
			c.group = appendRecord(c.group, r)
			c.records++
			if c.records == b.senders {
				b.arrived.Signal() // see gather
			}
			if dedupFor > 0 {
				c.ids = append(c.ids, r.ID)
				b.dedup.begin(r.ID, c)
				if b.shared != nil {
					c.sharedIDs = appendID(c.sharedIDs, r.ID, dedupFor)
				}
			}
			return c, false, nil
		}
		if err := b.awaitCapacity(ctx); err != nil {
			return nil, false, err
		}
	}
}

// current returns the group for a record of that size, or nil if there is none
// and no more may be started.
func (b *batcher) current(size, limit int) *commit {
	if n := len(b.groups); n > 0 {
		last := b.groups[n-1]
		if last.records < maxGroupRecords && len(last.group)+idEncoding.EncodedLen(len(last.sharedIDs))+size <= limit {
			return last
		}
		if n >= maxWaitingGroups {
			return nil
		}
	}
	var buffer []byte
	if n := len(b.spares); n > 0 {
		buffer, b.spares = b.spares[n-1], b.spares[:n-1]
	}
	c := &commit{group: append(buffer[:0], groupVersion), began: time.Now(), done: make(chan struct{})}
	b.groups = append(b.groups, c)
	b.arrived.Signal()
	return c
}

// awaitCapacity returns when another group may be started, or the batcher was
// closed. b.mu is held before and after.
func (b *batcher) awaitCapacity(ctx context.Context) error {
	room := b.capacity
	b.mu.Unlock()
	defer b.mu.Lock()
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: too many writes are waiting: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// take waits for a group to write and closes it for new records. It returns nil
// when the batcher is closed and empty.
func (b *batcher) take() *commit {
	b.mu.Lock()
	for len(b.groups) == 0 && !b.closed {
		b.arrived.Wait()
	}
	b.mu.Unlock()
	// Goroutines that are about to add go first: on a busy machine groups get
	// larger and writes fewer, on an idle one there are none.
	runtime.Gosched()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gather()
	if len(b.groups) == 0 {
		return nil
	}
	c := b.groups[0]
	if len(b.groups) == maxWaitingGroups {
		b.signalCapacity()
	}
	b.groups = append(b.groups[:0], b.groups[1:]...)
	return c
}

// gather waits until there are as many records as were on their way when the last
// write ended, but no longer than a quarter of a write. Of senders who send again
// once they are answered, half would otherwise always miss the write that the
// others wait for. A lone sender does not wait. b.mu is held before and after.
func (b *batcher) gather() {
	if b.usual < slowWrite {
		return
	}
	ended := false
	timer := time.AfterFunc(min(b.usual/4, maxGather), func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		ended = true
		b.arrived.Signal()
	})
	defer timer.Stop()
	for len(b.groups) == 1 && b.groups[0].records < b.senders && !b.closed && !ended {
		b.arrived.Wait()
	}
}

func (b *batcher) signalCapacity() {
	close(b.capacity)
	b.capacity = make(chan struct{})
}

// finish gives those who wait for c its result. took is how long the write took.
func (b *batcher) finish(c *commit, took time.Duration, err error) {
	b.mu.Lock()
	b.senders = c.records
	for _, waiting := range b.groups {
		b.senders += waiting.records
	}
	b.usual = (3*b.usual + took) / 4
	b.dedup.finish(c.ids, err == nil)
	if cap(c.group) <= 2*maxGroupBytes && len(b.spares) < maxSpares {
		b.spares = append(b.spares, c.group)
	}
	b.mu.Unlock()
	c.group, c.err = nil, err
	close(c.done)
}

// close refuses further records. It returns false if it was closed before.
func (b *batcher) close() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.closed = true
	b.arrived.Signal()
	b.signalCapacity()
	return true
}
