// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// compactionInterval is how often the queue is asked whether too many
	// groups are parked.
	compactionInterval = time.Second
	// Groups that are due within soon are left alone.
	soon = 10 * time.Second
	// Groups of at least enoughRecords records are not made larger.
	enoughRecords = 256
)

// compactor keeps the number of parked groups of a target small. The store
// delivers a limited number of them. If these are not due, those that are would
// have to wait. If there are many, such as for a receiver that refuses every
// other notification for hours, the compactor parks them again in larger
// groups.
//
// A group is due with the last of its records: the others wait up to a quarter
// longer.
type compactor struct {
	*runner
	reader  *queue.Reader
	checked time.Time
	needed  bool
}

// compact returns the groups that remain.
func (c *compactor) compact(ctx context.Context, groups []*queue.Group) []*queue.Group {
	if len(groups) < 2 || !groups[0].WasParked || !c.tooMany(ctx, groups) {
		return groups
	}
	var left, far []*queue.Group
	for _, g := range groups {
		if c.untilDue(g.Due) > soon && len(g.Records) < enoughRecords && !c.inflight.contains(groupID{true, g.Sequence}) {
			far = append(far, g)
		} else {
			left = append(left, g)
		}
	}
	slices.SortFunc(far, func(a, b *queue.Group) int {
		return cmp.Or(cmp.Compare(a.WaitsFor, b.WaitsFor), a.Due.Compare(b.Due))
	})
	for len(far) > 0 {
		end := 1
		limit := c.untilDue(far[0].Due) * 5 / 4
		for end < len(far) && c.untilDue(far[end].Due) <= limit && far[end].WaitsFor == far[0].WaitsFor {
			end++
		}
		if end == 1 || !c.merge(ctx, far[:end]) {
			left = append(left, far[:end]...)
		}
		far = far[end:]
	}
	return left
}

func (c *compactor) tooMany(ctx context.Context, groups []*queue.Group) bool {
	if groups[len(groups)-1].Behind == 0 {
		return false
	}
	if time.Since(c.checked) > compactionInterval {
		c.checked, c.needed = time.Now(), c.reader.NearLimit(ctx)
	}
	return c.needed
}

// merge parks groups, sorted by their due time, as one.
func (c *compactor) merge(ctx context.Context, groups []*queue.Group) bool {
	p := queue.Parked{Due: groups[len(groups)-1].Due, Reason: groups[0].Reason, WaitsFor: groups[0].WaitsFor}
	for _, g := range groups {
		if g.At.After(p.At) {
			p.At = g.At
		}
		p.Records = append(p.Records, g.Records...)
	}
	if err := c.queue.Park(ctx, c.Name, p); err != nil {
		c.log.Debug("cannot park notifications together", "error", err)
		return false
	}
	for _, g := range groups {
		c.recovery.taken(g)
		if err := g.Ack(); err != nil {
			c.log.Debug("an acknowledgement was lost", "error", err)
		}
	}
	return true
}
