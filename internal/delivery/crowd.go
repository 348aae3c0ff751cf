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
	// crowdInterval is how often it is asked whether too many are parked.
	crowdInterval = time.Second
	// soon is what waits no longer than that for its next attempt. It is left
	// alone.
	soon = 10 * time.Second
	// enoughRecords is how many records a group has that is not made larger.
	enoughRecords = 256
)

// crowd keeps the parked groups of a lane few. The store gives out a limited
// number of them; if these were not due, those that are would wait behind
// them. Where there are many, such as with a receiver that refuses every other
// notification for hours, it parks them anew in larger groups.
//
// A group is due with the last of its records: the others wait a quarter
// longer than they would alone.
type crowd struct {
	*lane
	reader *queue.Reader
	asked  time.Time
	much   bool
}

// thinOut returns those of the groups that are left.
func (c *crowd) thinOut(ctx context.Context, groups []*queue.Group) []*queue.Group {
	if len(groups) < 2 || !groups[0].WasParked || !c.crowded(ctx, groups) {
		return groups
	}
	var left, far []*queue.Group
	for _, g := range groups {
		if c.untilDue(g.Due) > soon && len(g.Records) < enoughRecords && !c.holdings.knows(groupID{true, g.Sequence}) {
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

func (c *crowd) crowded(ctx context.Context, groups []*queue.Group) bool {
	if groups[len(groups)-1].Behind == 0 {
		return false
	}
	if time.Since(c.asked) > crowdInterval {
		c.asked, c.much = time.Now(), c.reader.Crowded(ctx)
	}
	return c.much
}

// merge parks groups, sorted by their due time, together.
func (c *crowd) merge(ctx context.Context, groups []*queue.Group) bool {
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
		if err := g.Settle(); err != nil {
			c.log.Debug("an acknowledgement was lost", "error", err)
		}
	}
	return true
}
