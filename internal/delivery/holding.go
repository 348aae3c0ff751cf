// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// maxSettled bounds what a lane remembers of groups that come again.
const maxSettled = 1 << 16

// keeper is what a lane holds of the queue: a group or a parked record.
type keeper interface {
	Keep() error
	Settle() error
}

// holding counts the jobs of a keeper that are still to be settled. lane.mu
// guards it.
type holding struct {
	keeper
	open    int
	lost    bool // one could not be settled: the queue must give it out again
	settled []notification.Identity
}

func (l *lane) hold(k keeper, jobs int) *holding {
	h := &holding{keeper: k, open: jobs}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[h] = struct{}{}
	return h
}

// more makes the group wait for further jobs.
func (l *lane) more(h *holding, jobs int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.open += jobs
}

func (l *lane) release(h *holding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, h)
}

// settle ends j; the last job of a group settles the group.
func (l *lane) settle(j job, settled bool) {
	h := j.from
	l.mu.Lock()
	if settled {
		h.settled = append(h.settled, j.record.ID)
	} else {
		h.lost = true
	}
	h.open--
	last := h.open == 0
	if last {
		delete(l.held, h)
	}
	l.mu.Unlock()
	if !last {
		return
	}
	if !h.lost {
		if err := h.Settle(); err != nil {
			l.log.Debug("an acknowledgement was lost", "error", err)
			h.lost = true
		}
	}
	l.remember(h)
}

// remember what of a group must not be delivered once more when it comes
// again. A parked notification comes again as itself.
func (l *lane) remember(h *holding) {
	if _, group := h.keeper.(*queue.Group); !group {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.settled) > maxSettled {
		clear(l.settled)
	}
	for _, id := range h.settled {
		if h.lost {
			l.settled[id] = struct{}{}
		} else {
			delete(l.settled, id)
		}
	}
}

func (l *lane) isSettled(id notification.Identity) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.settled[id]
	return ok
}

// keepHeld tells the queue that what the lane holds is still worked on, also
// while the gate is closed for hours.
func (l *lane) keepHeld(done <-chan struct{}) {
	tick := time.NewTicker(queue.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		l.mu.Lock()
		held := make([]keeper, 0, len(l.held))
		for k := range l.held {
			held = append(held, k)
		}
		l.mu.Unlock()
		for _, k := range held {
			_ = k.Keep()
		}
	}
}
