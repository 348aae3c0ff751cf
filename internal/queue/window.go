// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// windowSize bounds the memory of a window: at most twice as many identities
// are remembered (some 6 MiB). Dovecot tries again within 4 s, so duplicates
// are recognised up to a rate of 16,000 new notifications a second at least.
const windowSize = 1 << 16

// window recognises a notification that comes again: while its first copy is
// being written, and for some time after that.
//
// What was written is kept in two generations, so that forgetting the old
// costs nothing: when the younger one is full, it becomes the older one.
type window struct {
	mu      sync.Mutex
	pending map[notification.Identity]*commit
	young   map[notification.Identity]time.Time
	old     map[notification.Identity]time.Time
	now     func() time.Time
}

func newWindow() *window {
	return &window{
		pending: make(map[notification.Identity]*commit),
		young:   make(map[notification.Identity]time.Time),
		now:     time.Now,
	}
}

// claim says what is known about id: written within the last d (done), being
// written right now (the commit to wait for), or new (neither), in which case
// c is noted as the commit that writes it and must be given to settle later.
func (w *window) claim(id notification.Identity, d time.Duration, c *commit) (done bool, other *commit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if other := w.pending[id]; other != nil {
		return false, other
	}
	written, ok := w.young[id]
	if !ok {
		written, ok = w.old[id]
	}
	// A clock that was set back makes the age negative: within the window.
	if ok && w.now().Sub(written) < d {
		return true, nil
	}
	w.pending[id] = c
	return false, nil
}

// settle ends the writing of id. Only what was written is remembered: a
// notification that could not be stored must be new when it comes again.
func (w *window) settle(id notification.Identity, written bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pending, id)
	if !written {
		return
	}
	if len(w.young) >= windowSize {
		w.old, w.young = w.young, make(map[notification.Identity]time.Time)
	}
	w.young[id] = w.now()
}
