// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/recent"
)

const (
	// maxHealth bounds the number of items whose health a target remembers, see
	// [recent.Map].
	maxHealth = 32_768
	// relapse is how long after a failure an item that works again is not yet
	// considered healthy.
	relapse = 10 * time.Minute
)

// item is what can fail alone: a destination, or a mailbox if the target has no
// destinations.
type item uint64

var itemSeed = maphash.MakeSeed()

// itemOf returns the item that an attempt for j is made at.
func itemOf(j *job) item {
	switch {
	case j.record.Destination != "":
		return item(maphash.String(itemSeed, j.record.Destination))
	case j.record.Mailbox != 0:
		return item(j.record.Mailbox)
	default:
		return item(binary.BigEndian.Uint64(j.record.ID[:]))
	}
}

// health remembers the results of the last attempts at the items of a target.
// An item that fails while others work is failing: it says nothing about what
// it shares with them, and a destination waits on its own schedule.
type health struct {
	mu         sync.Mutex
	conditions *recent.Map[item, condition]
}

// condition of one item. The zero value is that of an unknown one.
type condition struct {
	failures int       // in a row
	failed   time.Time // the last time, or zero
	due      time.Time // no attempt before that, or zero
	works    bool      // the last attempt succeeded
}

// outage is when a service was last down. Items that failed then are not to
// blame.
type outage struct{ from, to time.Time }

func (o outage) excuses(failed time.Time) bool {
	return !failed.Before(o.from) && failed.Before(o.to)
}

// class is what is known of an item.
type class uint8

const (
	unproven class = iota // nothing is known, or it worked after it failed
	healthy               // it works; a failure would be strong evidence against the service
	failing               // the last attempt failed, while others worked
	classes
)

func (c condition) class(last outage, now time.Time) class {
	excused := c.failed.IsZero() || last.excuses(c.failed)
	switch {
	case c.failures > 0 && !excused:
		return failing
	case c.works && (excused || now.Sub(c.failed) > relapse):
		return healthy
	default:
		return unproven
	}
}

// wait returns how long the item is left alone.
func (c condition) wait(last outage, now time.Time) time.Duration {
	if c.due.IsZero() || last.excuses(c.failed) {
		return 0
	}
	// A clock that was set back makes nobody wait for longer.
	return min(max(c.due.Sub(now), 0), 2*schedule[len(schedule)-1])
}

func newHealth() *health { return &health{conditions: recent.NewMap[item, condition](maxHealth)} }

func (h *health) of(i item) condition {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, _ := h.conditions.Get(i)
	return c
}

// note stores the result of an attempt. An item that has failed downAfter times
// in a row is left alone for a growing time.
func (h *health) note(i item, r Result, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, _ := h.conditions.Get(i)
	if r.Outcome == Delivered || r.Outcome == Refused || r.Outcome == Gone {
		c.failures, c.due, c.works = 0, time.Time{}, true
	} else {
		c.failures++
		c.failed, c.works = now, false
		if c.failures >= downAfter && r.Fault != FaultOfService {
			c.due = now.Add(nextAttempt(c.failures-downAfter+1, r.After))
		}
	}
	h.conditions.Set(i, c)
}
