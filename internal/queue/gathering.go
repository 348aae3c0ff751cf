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
	// notification makes a group of its own.
	maxGroupRecords = 1024
	maxGroupBytes   = 512 << 10
	// maxWaitingGroups bounds the memory of what waits to be written, at some
	// 8 MiB, or 128 MiB if each is one notification of [MaxBody]. Who comes
	// then waits for room.
	maxWaitingGroups = 16
	// maxSpares is how many buffers are kept: one is written, one filled.
	maxSpares = 2
)

// commit is one group on its way to the disk, and what everybody who has a
// record in it waits for.
type commit struct {
	group   []byte // in the form in which it is stored
	records int
	began   time.Time // when the first record came
	// ids are the entries of the window that are settled with it.
	ids []notification.Identity
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

// gathering is where records become groups, while the group before is written.
type gathering struct {
	mu     sync.Mutex
	window *window
	// groups wait to be written, the oldest first. The last one takes in what
	// comes.
	groups  []*commit
	arrived sync.Cond // that groups has its first, or closed changed
	room    chan struct{}
	closed  bool
	spares  [][]byte
}

func newGathering() *gathering {
	g := &gathering{window: newWindow(), room: make(chan struct{})}
	g.arrived.L = &g.mu
	return g
}

// join puts r into a group and returns what to wait for. Of a duplicate that
// is the group of the first one, or nil if that is written already. limit is
// how large a group may become, in bytes; only one that r makes alone may be
// larger.
func (g *gathering) join(ctx context.Context, r *Record, window time.Duration, limit int) (c *commit, duplicate bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		if g.closed {
			return nil, false, ErrClosed
		}
		if window > 0 {
			if written, other := g.window.find(r.ID, window); written || other != nil {
				return other, true, nil
			}
		}
		if c := g.open(r.maxSize(), limit); c != nil {
			c.group = appendRecord(c.group, r)
			c.records++
			if window > 0 {
				c.ids = append(c.ids, r.ID)
				g.window.begin(r.ID, c)
			}
			return c, false, nil
		}
		if err := g.awaitRoom(ctx); err != nil {
			return nil, false, err
		}
	}
}

// open returns the group that takes in a record of that size, or nil if none
// may be begun.
func (g *gathering) open(size, limit int) *commit {
	if n := len(g.groups); n > 0 {
		last := g.groups[n-1]
		if last.records < maxGroupRecords && len(last.group)+size <= limit {
			return last
		}
		if n >= maxWaitingGroups {
			return nil
		}
	}
	var buffer []byte
	if n := len(g.spares); n > 0 {
		buffer, g.spares = g.spares[n-1], g.spares[:n-1]
	}
	c := &commit{group: append(buffer[:0], groupVersion), began: time.Now(), done: make(chan struct{})}
	g.groups = append(g.groups, c)
	g.arrived.Signal()
	return c
}

// awaitRoom returns when another group may be begun, or the gathering was
// closed. g.mu is held before and after.
func (g *gathering) awaitRoom(ctx context.Context) error {
	room := g.room
	g.mu.Unlock()
	defer g.mu.Lock()
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: too many writes are waiting: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// take waits for a group to write, which takes in nothing more from then on.
// It returns nil when nothing will come any more.
func (g *gathering) take() *commit {
	g.mu.Lock()
	for len(g.groups) == 0 && !g.closed {
		g.arrived.Wait()
	}
	g.mu.Unlock()
	// Whoever is about to join goes first: on a busy machine the groups get
	// larger and the writes fewer, on an idle one nobody is.
	runtime.Gosched()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.groups) == 0 {
		return nil
	}
	c := g.groups[0]
	if len(g.groups) == maxWaitingGroups {
		g.makeRoom()
	}
	g.groups = append(g.groups[:0], g.groups[1:]...)
	return c
}

func (g *gathering) makeRoom() {
	close(g.room)
	g.room = make(chan struct{})
}

// settle tells those who wait for c what became of it.
func (g *gathering) settle(c *commit, err error) {
	g.mu.Lock()
	g.window.settle(c.ids, err == nil)
	if cap(c.group) <= 2*maxGroupBytes && len(g.spares) < maxSpares {
		g.spares = append(g.spares, c.group)
	}
	g.mu.Unlock()
	c.group, c.err = nil, err
	close(c.done)
}

// close lets nothing more in. It returns false if that was done before.
func (g *gathering) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.closed = true
	g.arrived.Signal()
	g.makeRoom()
	return true
}
