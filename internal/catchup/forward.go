// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"errors"

	"github.com/dovecotpush/caddy-dovecot-push/internal/lease"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// forwardKey is where instances without the lease put why they want a sweep.
// The one that has it looks at all users then, so that the newest stands for
// those before it.
var forwardKey = queue.Key{"wanted"}

// forward gives a trigger to the instance that has the lease.
func (c *Catcher) forward(why Trigger) {
	table := c.cfg.Queue.Table(Name)
	for c.stopped.Err() == nil {
		if _, err := table.Put(c.stopped, forwardKey, []byte(why)); err == nil {
			return
		}
		pause(c.stopped, retryPause) // the store that made it necessary may still be away
	}
}

// takeForwarded takes what others want, until ctx ends. What is there at the
// beginning is covered by the first sweep.
func (c *Catcher) takeForwarded(ctx context.Context) {
	table := c.cfg.Queue.Table(Name)
	seen, known := uint64(0), false
	for ctx.Err() == nil {
		entry, err := table.Get(ctx, forwardKey)
		if err == nil && known && entry.Revision != seen {
			c.wanted.want(Trigger(entry.Value))
		}
		if err == nil {
			seen = entry.Revision
		}
		known = known || err == nil || errors.Is(err, queue.ErrNotFound)
		pause(ctx, lease.Poll)
	}
}
