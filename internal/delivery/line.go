// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// maxChain is how many jobs of one mailbox wait in a line, as many as come at
// once from the queue. Those beyond go back to the queue for overflowWait, so
// that a mailbox that gets more than can be delivered one by one does not hold
// up the others.
const (
	maxChain     = 1024
	overflowWait = time.Second
	// wakeInterval bounds how often the ends of rests are looked for.
	wakeInterval = 20 * time.Millisecond
)

// line is where the jobs of a lane wait for a worker. Those for the same
// destination, user and folder are given out one after the other, in their
// order; what is between them does not matter. Of the attempts at one service
// no more than share are out at once.
type line struct {
	share    int
	coalesce time.Duration

	mu       sync.Mutex
	some     sync.Cond // a job is ready, or the line is closed
	ready    jobs
	chains   map[chainKey]*chain
	services map[string]*serviceLoad
	resting  []resting // in the order of their ends
	alarm    *time.Timer
	closed   bool
}

type chainKey struct {
	mailbox     notification.Mailbox
	destination string
}

// chain is what waits behind a job that is ready or given out, or behind the
// rest that follows when the lane coalesces.
type chain struct {
	waiting jobs
	// newest is, where the lane coalesces, the job that is ready or given out,
	// or what was delivered before the rest.
	newest *job
}

type serviceLoad struct {
	out     int
	waiting jobs
}

type resting struct {
	key   chainKey
	until time.Time
}

func newLine(share int, coalesce time.Duration) *line {
	l := &line{
		share: share, coalesce: coalesce,
		chains: make(map[chainKey]*chain), services: make(map[string]*serviceLoad),
	}
	l.some.L = &l.mu
	return l
}

func chainOf(j *job) chainKey { return chainKey{j.record.Mailbox, j.record.Destination} }

// add lets j wait for a worker. It returns the job that will not be given
// out: the older of two where the lane coalesces, or j itself (overflow) where
// too many wait already.
func (l *line) add(j *job) (instead *job, overflow bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := chainOf(j)
	if key.mailbox == 0 { // of a mailbox of its own
		l.isReady(j)
		return nil, false
	}
	c := l.chains[key]
	switch {
	case c == nil:
		l.chains[key] = l.chain(j)
		l.isReady(j)
	case l.coalesce > 0 && c.newest != nil && !j.newerThan(c.newest):
		return j, false // two that were accepted at once, in the wrong order
	case l.coalesce > 0 && c.waiting.count > 0:
		if !j.newerThan(c.waiting.first) {
			return j, false
		}
		older := c.waiting.pop()
		c.waiting.push(j)
		return older, false
	case c.waiting.count >= maxChain:
		return nil, true
	default:
		c.waiting.push(j)
	}
	return nil, false
}

// chain is a new one, for j to go first.
func (l *line) chain(j *job) *chain {
	if l.coalesce > 0 {
		return &chain{newest: j}
	}
	return new(chain)
}

// full tells whether a job of the same chain would be too many.
func (l *line) full(j *job) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.chains[chainOf(j)]
	return c != nil && c.waiting.count >= maxChain
}

// isReady gives j to the next worker. l.mu is held.
func (l *line) isReady(j *job) {
	l.ready.push(j)
	l.some.Signal()
}

// take waits for a job. It returns nil when the line was closed. Each job is
// followed by one done or failed.
func (l *line) take() *job {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed {
		j := l.ready.pop()
		if j == nil {
			l.some.Wait()
			continue
		}
		if j.service == "" {
			return j
		}
		s := l.services[j.service]
		if s == nil {
			s = new(serviceLoad)
			l.services[j.service] = s
		}
		if s.out < l.share {
			s.out++
			return j
		}
		s.waiting.push(j)
	}
	return nil
}

// done ends j, and lets the next one of its chain go. told is false where
// whoever shows what is new does not know of j.
func (l *line) done(j *job, told bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave(j)
	key := chainOf(j)
	c := l.chains[key]
	switch {
	case c == nil:
	case l.coalesce > 0:
		if c.newest = withoutBody(j.record); !told {
			c.newest = nil
		}
		l.rest(key)
	case c.waiting.count == 0:
		delete(l.chains, key)
	default:
		l.isReady(c.waiting.pop())
	}
}

// failed ends j. It returns what waited behind it: to let that go now would
// put it before j.
func (l *line) failed(j *job) (behind []*job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave(j)
	key := chainOf(j)
	if c := l.chains[key]; c != nil {
		behind = c.waiting.all()
		delete(l.chains, key)
	}
	return behind
}

// leave gives back the place that j had at its service. l.mu is held.
func (l *line) leave(j *job) {
	if j.service == "" {
		return
	}
	s := l.services[j.service]
	s.out--
	if next := s.waiting.pop(); next != nil {
		l.isReady(next)
	} else if s.out == 0 {
		delete(l.services, j.service)
	}
}

// rest makes the chain wait before its next job. l.mu is held.
func (l *line) rest(key chainKey) {
	l.resting = append(l.resting, resting{key, time.Now().Add(l.coalesce)})
	if len(l.resting) == 1 && !l.closed {
		l.alarm = time.AfterFunc(l.coalesce, l.wake)
	}
}

// wake ends the rests that are over.
func (l *line) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, n := time.Now(), 0
	for n < len(l.resting) && !l.resting[n].until.After(now) {
		key := l.resting[n].key
		n++
		c := l.chains[key]
		switch {
		case c == nil:
		case c.waiting.count == 0:
			delete(l.chains, key)
		default:
			c.newest = c.waiting.pop()
			l.isReady(c.newest)
		}
	}
	l.resting = append(l.resting[:0], l.resting[n:]...)
	if len(l.resting) > 0 && !l.closed {
		l.alarm = time.AfterFunc(max(l.resting[0].until.Sub(now), wakeInterval), l.wake)
	}
}

// close makes every take return nil.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.alarm != nil {
		l.alarm.Stop()
	}
	l.some.Broadcast()
}

// drain returns what still waits in a closed line.
func (l *line) drain() []*job {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.ready.all()
	for _, c := range l.chains {
		all = append(all, c.waiting.all()...)
	}
	for _, s := range l.services {
		all = append(all, s.waiting.all()...)
	}
	clear(l.chains)
	return all
}
