// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/recent"
)

// dedupSize bounds the memory: at most twice as many identities are remembered
// (some 6 MiB). Dovecot tries again within 4 s, so duplicates are recognized up
// to at least 16,000 new notifications per second.
const dedupSize = 1 << 16

// dedup recognizes duplicates of a notification while its first copy is being
// written, and for some time after that. It is not safe for concurrent use.
type dedup struct {
	pending map[notification.Identity]*commit
	// written is when each was, counted from start: it holds no pointers for
	// the garbage collector to follow.
	written *recent.Map[notification.Identity, time.Duration]
	start   time.Time
	now     func() time.Time
}

func newDedup() *dedup {
	return &dedup{
		pending: make(map[notification.Identity]*commit),
		written: recent.NewMap[notification.Identity, time.Duration](dedupSize),
		start:   time.Now(),
		now:     time.Now,
	}
}

// find reports whether id is being written right now (other is the commit to
// wait for) or was written within the given time.
func (d *dedup) find(id notification.Identity, within time.Duration) (written bool, other *commit) {
	if other := d.pending[id]; other != nil {
		return false, other
	}
	at, ok := d.written.Get(id)
	// A clock that was set back makes the age negative: still a duplicate.
	return ok && d.now().Sub(d.start)-at < within, nil
}

// begin records that id is being written, until finish.
func (d *dedup) begin(id notification.Identity, c *commit) { d.pending[id] = c }

// finish ends the writing of ids. Only written ones are remembered: a
// notification that could not be stored must not be a duplicate when it is sent
// again.
func (d *dedup) finish(ids []notification.Identity, written bool) {
	at := d.now().Sub(d.start)
	for _, id := range ids {
		delete(d.pending, id)
		if written {
			d.written.Set(id, at)
		}
	}
}
