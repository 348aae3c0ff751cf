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
	// maxUnsettled bounds how many groups that come again a lane remembers.
	maxUnsettled = 1024
	// jobSize is what a job takes besides the body of its notification, in
	// bytes.
	jobSize = 320
)

// holding is a group and the jobs it was made into. The last of them to end
// settles the group.
type holding struct {
	group  keeper
	id     groupID
	jobs   []job
	ended  map[jobID]struct{} // of the time before, see comesAgain
	open   atomic.Int32
	size   int       // in bytes
	oldest time.Time // when the oldest of its notifications was accepted
	kept   time.Time // when the queue heard of it; guarded by that of holdings
}

// add makes j one of the jobs, if it did not end the time before.
func (h *holding) add(j job) {
	if _, ended := h.ended[j.id()]; ended {
		return
	}
	if h.oldest.IsZero() || j.record.Accepted.Before(h.oldest) {
		h.oldest = j.record.Accepted
	}
	h.size += jobSize + len(j.record.Body)
	h.jobs = append(h.jobs, j)
}

// keeper is a [queue.Group].
type keeper interface {
	Keep() error
	Settle() error
	Return() error
}

// groupID tells the groups of a target apart.
type groupID struct {
	parked   bool
	sequence uint64
}

// holdings is what a lane holds. Nothing more is taken from the queue while
// that is limit bytes or more: it is safe there, and takes no memory.
type holdings struct {
	limit int

	mu   sync.Mutex
	held map[groupID]*holding
	size int
	// room is closed and replaced when there may be room again, if somebody
	// waits for that.
	room  chan struct{}
	waits bool
	// ended are the jobs that ended of groups that could not be settled as a
	// whole: those groups come again.
	ended map[groupID]map[jobID]struct{}
}

func newHoldings(limit int) *holdings {
	return &holdings{
		limit: limit, held: make(map[groupID]*holding), room: make(chan struct{}),
		ended: make(map[groupID]map[jobID]struct{}),
	}
}

// hold takes a group in whose jobs are complete.
func (hs *holdings) hold(h *holding) {
	h.open.Store(int32(len(h.jobs)))
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h.kept = time.Now()
	hs.held[h.id] = h
	hs.size += h.size
}

// free is how many bytes may still be taken.
func (hs *holdings) free() int {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.limit - hs.size
}

// count is how many groups are held.
func (hs *holdings) count() int {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return len(hs.held)
}

// wait returns what is closed when there may be room again.
func (hs *holdings) wait() <-chan struct{} {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.waits = true
	return hs.room
}

// wake lets everybody who waits look again.
func (hs *holdings) wake() {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.woken()
}

// woken is wake while hs.mu is held.
func (hs *holdings) woken() {
	if hs.waits {
		close(hs.room)
		hs.room, hs.waits = make(chan struct{}), false
	}
}

// release forgets a group.
func (hs *holdings) release(h *holding) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	delete(hs.held, h.id)
	hs.size -= h.size
	hs.woken()
}

// settle ends j; the last job of a group settles the group. An acknowledgement
// that was lost is told.
func (hs *holdings) settle(j *job, settled bool) (lost error) {
	h := j.from
	j.lost = !settled
	if h.open.Add(-1) > 0 {
		return nil
	}
	defer hs.release(h)
	for i := range h.jobs {
		if h.jobs[i].lost {
			hs.remember(h)
			return nil
		}
	}
	if lost = h.group.Settle(); lost != nil {
		hs.remember(h)
	}
	return lost
}

// remember what of a group must not be delivered once more when it comes
// again.
func (hs *holdings) remember(h *holding) {
	if h.ended == nil {
		h.ended = make(map[jobID]struct{})
	}
	for i := range h.jobs {
		if !h.jobs[i].lost {
			h.ended[h.jobs[i].id()] = struct{}{}
		}
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if len(hs.ended) >= maxUnsettled {
		clear(hs.ended)
	}
	hs.ended[h.id] = h.ended
}

// knows tells whether a group is held, or was and could not be settled as a
// whole.
func (hs *holdings) knows(id groupID) bool {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.held[id] != nil || hs.ended[id] != nil
}

// comesAgain returns the jobs of a group that ended when it came before, and
// forgets them. held tells that the group has not ended: the queue did not
// hear from us for too long.
func (hs *holdings) comesAgain(id groupID) (ended map[jobID]struct{}, held bool) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	ended = hs.ended[id]
	delete(hs.ended, id)
	return ended, hs.held[id] != nil
}

// oldest is when the oldest notification that is held was accepted; zero if
// none is.
func (hs *holdings) oldest() (oldest time.Time) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, h := range hs.held {
		if oldest.IsZero() || h.oldest.Before(oldest) {
			oldest = h.oldest
		}
	}
	return oldest
}

const (
	// keepAfter is how long the queue may hear nothing of a group.
	keepAfter = queue.AckWait / 3
	// keepInterval is how often it is looked for those. Each is kept on its
	// own time, so that a target that hangs, and holds thousands, does not
	// make the store busy for a moment with all of them at once.
	keepInterval = queue.AckWait / 60
)

// keep tells the queue that what is held is still worked on, also while the
// gate is closed for hours.
func (hs *holdings) keep(done <-chan struct{}) {
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-tick.C:
			for _, group := range hs.silent(now) {
				_ = group.Keep()
			}
		}
	}
}

// silent returns the groups of which the queue has heard nothing for too long,
// and notes that it does now.
func (hs *holdings) silent(now time.Time) (groups []keeper) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, h := range hs.held {
		if now.Sub(h.kept) >= keepAfter {
			h.kept = now
			groups = append(groups, h.group)
		}
	}
	return groups
}
