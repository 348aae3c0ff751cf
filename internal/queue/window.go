// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// windowSize bounds the memory of a window: at most twice as many identities
// are remembered (some 6 MiB). Dovecot tries again within 4 s, so duplicates
// are recognised up to a rate of 16,000 new notifications a second at least.
const windowSize = 1 << 16

// window recognises a notification that comes again: while its first copy is
// being written, and for some time after that. Its callers take turns.
//
// What was written is kept in two generations, so that forgetting the old
// costs nothing: when the younger one is full, it becomes the older one. They
// hold no pointers, which the garbage collector would have to follow.
type window struct {
	pending map[notification.Identity]*commit
	// young and old are when each was written, counted from start.
	young, old map[notification.Identity]time.Duration
	start      time.Time
	now        func() time.Time
}

func newWindow() *window {
	return &window{
		pending: make(map[notification.Identity]*commit),
		young:   make(map[notification.Identity]time.Duration),
		start:   time.Now(),
		now:     time.Now,
	}
}

// find says what is known about id: being written right now (the commit to
// wait for), written within the last d, or neither.
func (w *window) find(id notification.Identity, d time.Duration) (written bool, other *commit) {
	if other := w.pending[id]; other != nil {
		return false, other
	}
	at, ok := w.young[id]
	if !ok {
		at, ok = w.old[id]
	}
	// A clock that was set back makes the age negative: within the window.
	return ok && w.now().Sub(w.start)-at < d, nil
}

// begin notes that id is being written, until it is settled.
func (w *window) begin(id notification.Identity, c *commit) { w.pending[id] = c }

// settle ends the writing of ids. Only what was written is remembered: a
// notification that could not be stored must be new when it comes again.
func (w *window) settle(ids []notification.Identity, written bool) {
	at := w.now().Sub(w.start)
	for _, id := range ids {
		delete(w.pending, id)
		if !written {
			continue
		}
		if len(w.young) >= windowSize {
			w.old, w.young = w.young, make(map[notification.Identity]time.Duration)
		}
		w.young[id] = at
	}
}
