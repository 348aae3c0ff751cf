// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// maxSuperseded bounds how many ordering keys with parked notifications a
// target remembers.
const maxSuperseded = 50_000

// generationAge is how long a key is remembered after its last parked
// notification was seen: each is seen again within maxPostpone.
func generationAge() time.Duration { return 2 * maxPostpone }

// superseded makes sure that, if a target coalesces, no parked notification is
// delivered after a newer one: the device would show the old one. It remembers
// the ordering keys with parked notifications, and the newest notification
// delivered for each. Superseded notifications are done.
//
// It is kept in two generations, so that forgetting costs nothing: a key that
// was seen is in the younger one. Unlike those of a recent.Map, they change with
// time and not when they are full: what is still parked is never forgotten.
type superseded struct {
	started time.Time // not all parked notifications have been seen then

	mu         sync.Mutex
	young, old map[orderingKey]*deliveredState
	rotated    time.Time
}

type deliveredState struct {
	newest *job // delivered, or nil
	// waiting are the parked groups of a single notification that are not due.
	// They end as soon as they are superseded, so that a restart does not bring
	// them back.
	waiting map[uint64]postponedGroup
}

// postponedGroup is a parked group that is not due.
type postponedGroup struct {
	group acker
	job   *job
}

func newSuperseded() *superseded {
	now := time.Now()
	return &superseded{started: now, young: make(map[orderingKey]*deliveredState), rotated: now}
}

// seen records that j is parked. It does nothing on nil.
func (s *superseded) seen(j *job) {
	if s == nil || j.record.Mailbox == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state(orderingKeyOf(j))
}

// postponed records a parked group that is not due. It returns its job if that
// is superseded: the group is then to be acknowledged. It does nothing on nil.
func (s *superseded) postponed(g *queue.Group) (superseded *job) {
	if s == nil {
		return nil
	}
	for i := range g.Records {
		s.seen(&job{record: &g.Records[i]})
	}
	if len(g.Records) != 1 || g.Records[0].Mailbox == 0 {
		return nil
	}
	j := withoutBody(&g.Records[0])
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.state(orderingKeyOf(j))
	switch {
	case c == nil:
	case c.newest != nil && !j.newerThan(c.newest):
		delete(c.waiting, g.Sequence)
		return j
	default:
		if c.waiting == nil {
			c.waiting = make(map[uint64]postponedGroup)
		}
		c.waiting[g.Sequence] = postponedGroup{g.WithoutRecords(), j}
	}
	return nil
}

// taken records that g is no longer postponed: its jobs end on
// their own. It does nothing on nil.
func (s *superseded) taken(g *queue.Group) {
	if s == nil || len(g.Records) != 1 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.find(&job{record: &g.Records[0]}) {
		delete(c.waiting, g.Sequence)
	}
}

// state finds or makes the state of a key. It returns nil if there are too
// many. s.mu is held.
func (s *superseded) state(key orderingKey) *deliveredState {
	if time.Since(s.rotated) > generationAge() {
		s.old, s.young, s.rotated = s.young, make(map[orderingKey]*deliveredState), time.Now()
	}
	c := s.young[key]
	if c == nil {
		if c = s.old[key]; c == nil {
			if len(s.young) >= maxSuperseded {
				return nil
			}
			c = new(deliveredState)
		}
		delete(s.old, key)
		s.young[key] = c
	}
	return c
}

// delivered records that j was delivered. It returns the groups that are now
// superseded. It does nothing on nil.
func (s *superseded) delivered(j *job) (superseded []postponedGroup) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.record.Mailbox != 0 && time.Since(s.started) < generationAge() {
		s.state(orderingKeyOf(j))
	}
	for _, c := range s.find(j) {
		if c.newest == nil || j.newerThan(c.newest) {
			c.newest = withoutBody(j.record)
		}
		for sequence, p := range c.waiting {
			if !p.job.newerThan(c.newest) {
				delete(c.waiting, sequence)
				superseded = append(superseded, p)
			}
		}
	}
	return superseded
}

// supersedes reports whether a newer job than j, or j itself, was delivered
// while j was parked.
func (s *superseded) supersedes(j *job) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.find(j) {
		if c.newest != nil && !j.newerThan(c.newest) {
			return true
		}
	}
	return false
}

// find returns the state of the key of j, and of the key of the same mailbox
// with unknown destinations. s.mu is held.
func (s *superseded) find(j *job) (chains []*deliveredState) {
	for _, key := range []orderingKey{orderingKeyOf(j), {mailbox: j.record.Mailbox}} {
		for _, generation := range []map[orderingKey]*deliveredState{s.young, s.old} {
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
