// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// maxPerKey is how many jobs with one ordering key wait in a dispatcher, as
// many as the queue delivers at once. Further ones go back to the queue for
// overflowWait, so that a mailbox that gets more than can be delivered one by
// one does not hold up the others.
const (
	maxPerKey    = 1024
	overflowWait = time.Second
	// wakeInterval bounds how often cool-downs are checked.
	wakeInterval = 20 * time.Millisecond
)

// dispatcher gives the jobs of a target to its workers. Jobs with the same
// ordering key are dispatched one after the other, in their order. At most
// share jobs of one service are dispatched at a time.
type dispatcher struct {
	share    int
	coalesce time.Duration

	mu          sync.Mutex
	cond        sync.Cond // a job is ready, or the dispatcher is closed
	ready       jobs
	keys        map[orderingKey]*keyState
	services    map[string]*serviceLoad
	coolingDown []coolDown // in the order in which they end
	timer       *time.Timer
	closed      bool
}

type orderingKey struct {
	mailbox     notification.Mailbox
	destination string
}

// keyState holds the jobs that wait behind one that is ready or dispatched, or
// behind the cool-down that follows if the target coalesces.
type keyState struct {
	waiting jobs
	// newest is, if the target coalesces, the job that is ready or dispatched,
	// or the one delivered before the cool-down.
	newest *job
}

type serviceLoad struct {
	out     int
	waiting jobs
}

type coolDown struct {
	key   orderingKey
	until time.Time
}

func newDispatcher(share int, coalesce time.Duration) *dispatcher {
	l := &dispatcher{
		share: share, coalesce: coalesce,
		keys: make(map[orderingKey]*keyState), services: make(map[string]*serviceLoad),
	}
	l.cond.L = &l.mu
	return l
}

func orderingKeyOf(j *job) orderingKey { return orderingKey{j.record.Mailbox, j.record.Destination} }

// add lets j wait for a worker. It returns the job that will not be dispatched:
// the older of two if the target coalesces, or j itself (overflow) if too many
// wait already.
func (d *dispatcher) add(j *job) (instead *job, overflow bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := orderingKeyOf(j)
	if key.mailbox == 0 { // no ordering
		d.makeReady(j)
		return nil, false
	}
	c := d.keys[key]
	switch {
	case c == nil:
		d.keys[key] = d.newKeyState(j)
		d.makeReady(j)
	case d.coalesce > 0 && c.newest != nil && !j.newerThan(c.newest):
		return j, false // two that were accepted concurrently, in the wrong order
	case d.coalesce > 0 && c.waiting.count > 0:
		if !j.newerThan(c.waiting.first) {
			return j, false
		}
		older := c.waiting.pop()
		c.waiting.push(j)
		return older, false
	case c.waiting.count >= maxPerKey:
		return nil, true
	default:
		c.waiting.push(j)
	}
	return nil, false
}

// newKeyState returns the state of a key whose first job is j.
func (d *dispatcher) newKeyState(j *job) *keyState {
	if d.coalesce > 0 {
		return &keyState{newest: j}
	}
	return new(keyState)
}

// full reports whether another job with the same key would be too many.
func (d *dispatcher) full(j *job) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.keys[orderingKeyOf(j)]
	return c != nil && c.waiting.count >= maxPerKey
}

// makeReady gives j to the next worker. d.mu is held.
func (d *dispatcher) makeReady(j *job) {
	d.ready.push(j)
	d.cond.Signal()
}

// take waits for a job. It returns nil once the dispatcher is closed. Each job
// must be followed by one done or failed.
func (d *dispatcher) take() *job {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.closed {
		j := d.ready.pop()
		if j == nil {
			d.cond.Wait()
			continue
		}
		s := d.services[j.service]
		if s == nil {
			s = new(serviceLoad)
			d.services[j.service] = s
		}
		if s.out < d.share {
			s.out++
			return j
		}
		s.waiting.push(j)
	}
	return nil
}

// done ends j and dispatches the next job with its key. delivered is false if
// the receiver has not seen j.
func (d *dispatcher) done(j *job, delivered bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.releaseService(j)
	key := orderingKeyOf(j)
	c := d.keys[key]
	switch {
	case c == nil:
	case d.coalesce > 0:
		if c.newest = withoutBody(j.record); !delivered {
			c.newest = nil
		}
		d.startCoolDown(key)
	case c.waiting.count == 0:
		delete(d.keys, key)
	default:
		d.makeReady(c.waiting.pop())
	}
}

// failed ends j. It returns the jobs behind it: dispatching them now would
// change their order.
func (d *dispatcher) failed(j *job) (behind []*job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.releaseService(j)
	key := orderingKeyOf(j)
	if c := d.keys[key]; c != nil {
		behind = c.waiting.all()
		delete(d.keys, key)
	}
	return behind
}

// releaseService gives back the place of j at its service. d.mu is held.
func (d *dispatcher) releaseService(j *job) {
	s := d.services[j.service]
	s.out--
	if next := s.waiting.pop(); next != nil {
		d.makeReady(next)
	} else if s.out == 0 {
		delete(d.services, j.service)
	}
}

// startCoolDown makes the key wait before its next job. d.mu is held.
func (d *dispatcher) startCoolDown(key orderingKey) {
	d.coolingDown = append(d.coolingDown, coolDown{key, time.Now().Add(d.coalesce)})
	if len(d.coolingDown) == 1 && !d.closed {
		d.timer = time.AfterFunc(d.coalesce, d.endCoolDowns)
	}
}

// endCoolDowns ends the cool-downs that are over.
func (d *dispatcher) endCoolDowns() {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, n := time.Now(), 0
	for n < len(d.coolingDown) && !d.coolingDown[n].until.After(now) {
		key := d.coolingDown[n].key
		n++
		c := d.keys[key]
		switch {
		case c == nil:
		case c.waiting.count == 0:
			delete(d.keys, key)
		default:
			c.newest = c.waiting.pop()
			d.makeReady(c.newest)
		}
	}
	d.coolingDown = append(d.coolingDown[:0], d.coolingDown[n:]...)
	if len(d.coolingDown) > 0 && !d.closed {
		d.timer = time.AfterFunc(max(d.coolingDown[0].until.Sub(now), wakeInterval), d.endCoolDowns)
	}
}

// close makes every take return nil.
func (d *dispatcher) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
	}
	d.cond.Broadcast()
}

// drain returns the jobs that still wait in a closed dispatcher.
func (d *dispatcher) drain() []*job {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.ready.all()
	for _, c := range d.keys {
		all = append(all, c.waiting.all()...)
	}
	for _, s := range d.services {
		all = append(all, s.waiting.all()...)
	}
	clear(d.keys)
	return all
}
