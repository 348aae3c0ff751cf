// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// maxLate bounds how many chains of which something is parked a lane remembers.
const maxLate = 50_000

// lateTurn is how long a chain is remembered after its last parked notification
// was seen: each is seen again within maxPostpone.
func lateTurn() time.Duration { return 2 * maxPostpone }

// late sees to it that in a lane that coalesces nothing parked is delivered
// after something newer: who shows what is new would show the old. It
// remembers the chains of which something is parked, and what was delivered of
// them meanwhile. What that overtakes is done.
//
// It is kept in two generations, so that forgetting costs nothing: a chain
// that was seen is in the younger one.
type late struct {
	started time.Time // not everything that is parked has been seen then

	mu         sync.Mutex
	young, old map[chainKey]*lateChain
	turned     time.Time
}

type lateChain struct {
	newest *job // that was delivered; nil if none was
	// waiting are the parked groups of a single notification that are put
	// off. They end as soon as they are overtaken, so that a restart does not
	// bring them back.
	waiting map[uint64]putOff
}

// putOff is a parked group that is not due.
type putOff struct {
	group keeper
	job   *job
}

func newLate() *late {
	now := time.Now()
	return &late{started: now, young: make(map[chainKey]*lateChain), turned: now}
}

// seen notes that j is parked. A nil late notes nothing.
func (l *late) seen(j *job) {
	if l == nil || j.record.Mailbox == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.chain(chainOf(j))
}

// putsOff notes a parked group that is not due. It returns its job if that was
// overtaken: the group is to be settled then. A nil late notes nothing.
func (l *late) putsOff(g *queue.Group) (overtaken *job) {
	if l == nil {
		return nil
	}
	for i := range g.Records {
		l.seen(&job{record: &g.Records[i]})
	}
	if len(g.Records) != 1 || g.Records[0].Mailbox == 0 {
		return nil
	}
	j := withoutBody(&g.Records[0])
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.chain(chainOf(j))
	switch {
	case c == nil:
	case c.newest != nil && !j.newerThan(c.newest):
		delete(c.waiting, g.Sequence)
		return j
	default:
		if c.waiting == nil {
			c.waiting = make(map[uint64]putOff)
		}
		c.waiting[g.Sequence] = putOff{g.WithoutRecords(), j}
	}
	return nil
}

// chain finds or makes what is remembered of a chain, nil if that is too much.
// l.mu is held.
func (l *late) chain(key chainKey) *lateChain {
	if time.Since(l.turned) > lateTurn() {
		l.old, l.young, l.turned = l.young, make(map[chainKey]*lateChain), time.Now()
	}
	c := l.young[key]
	if c == nil {
		if c = l.old[key]; c == nil {
			if len(l.young) >= maxLate {
				return nil
			}
			c = new(lateChain)
		}
		delete(l.old, key)
		l.young[key] = c
	}
	return c
}

// delivered notes that j was. It returns what is overtaken now. A nil late
// notes nothing.
func (l *late) delivered(j *job) (overtaken []putOff) {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if j.record.Mailbox != 0 && time.Since(l.started) < lateTurn() {
		l.chain(chainOf(j))
	}
	for _, c := range l.find(j) {
		if c.newest == nil || j.newerThan(c.newest) {
			c.newest = withoutBody(j.record)
		}
		for sequence, p := range c.waiting {
			if !p.job.newerThan(c.newest) {
				delete(c.waiting, sequence)
				overtaken = append(overtaken, p)
			}
		}
	}
	return overtaken
}

// overtakes tells whether something newer than j, or j itself, was delivered
// while j was parked.
func (l *late) overtakes(j *job) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.find(j) {
		if c.newest != nil && !j.newerThan(c.newest) {
			return true
		}
	}
	return false
}

// find returns what is remembered of the chain of j, and of that of the same
// mailbox whose destinations were not known. l.mu is held.
func (l *late) find(j *job) (chains []*lateChain) {
	for _, key := range []chainKey{chainOf(j), {mailbox: j.record.Mailbox}} {
		for _, generation := range []map[chainKey]*lateChain{l.young, l.old} {
			if c := generation[key]; c != nil {
				chains = append(chains, c)
			}
		}
		if key.destination == "" {
			break
		}
	}
	return chains
}

func withoutBody(r *queue.Record) *job {
	bare := *r
	bare.Body = nil
	return &job{record: &bare}
}
