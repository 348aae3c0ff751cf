// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// maxTake is how many groups are taken from the queue at once.
const maxTake = 64

// maxPostpone bounds how long the queue keeps a parked group for itself; a
// clock that jumped forward then costs no more than this.
var maxPostpone = time.Minute

// read turns the groups of a reader into jobs until ctx ends.
func (l *lane) read(ctx context.Context, reader *queue.Reader) {
	defer reader.Close()
	crowd := &crowd{lane: l, reader: reader}
	for l.awaitRoom(ctx) {
		most := maxTake
		if l.gate.isDown() {
			most = 1
		}
		groups, err := reader.Take(ctx, most, l.holdings.free())
		if err != nil {
			l.pause(ctx, err)
			continue
		}
		for _, g := range crowd.thinOut(ctx, groups) {
			if ctx.Err() != nil {
				_ = g.Return()
				continue
			}
			l.dispatch(ctx, g)
		}
	}
}

// awaitRoom waits until more may be taken from the queue. While the target is
// down that is as much as finds something that is known to work for the single
// attempts: the rest stays where it is.
func (l *lane) awaitRoom(ctx context.Context) bool {
	for {
		room := l.holdings.wait()
		if l.holdings.free() > 0 && (!l.gate.isDown() || l.holdings.count() < l.Workers/2) {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-room:
		}
	}
}

// pause waits a moment after the queue had nothing or failed.
func (l *lane) pause(ctx context.Context, err error) {
	if errors.Is(err, queue.ErrNoMore) || ctx.Err() != nil {
		return
	}
	l.log.Debug("cannot read the queue", "error", err)
	select {
	case <-ctx.Done():
	case <-time.After(breath):
	}
}

// dispatch makes jobs of a group.
func (l *lane) dispatch(ctx context.Context, g *queue.Group) {
	if wait := l.untilDue(g.Due); g.WasParked && wait > 0 && !l.recovery.due(g) {
		if overtaken := l.late.putsOff(g); overtaken != nil {
			l.coalescedLate(g, overtaken)
			return
		}
		l.postpone(g, wait)
		if l.recovery.putOff(g) {
			_ = g.Return()
		}
		return
	}
	if g.WasParked {
		l.recovery.taken(g)
	}
	h := &holding{group: g, id: groupID{g.WasParked, g.Sequence}}
	var held bool
	if h.ended, held = l.holdings.comesAgain(h.id); held {
		return
	}
	l.fanOut(ctx, g, h)
	if len(h.jobs) == 0 {
		if err := g.Settle(); err != nil {
			l.log.Debug("an acknowledgement was lost", "error", err)
		}
		return
	}
	if in := l.mustWait(h); g.WasParked && in.wait > 0 {
		l.postpone(g, in.wait)
		if in.waitsFor != "" {
			l.recovery.blocked(in.waitsFor, g)
		}
		return
	}
	l.holdings.hold(h)
	l.enqueue(h)
}

// untilDue is how long something is not due. If that is longer than anything
// is put off, the clock was set back, and it is due.
func (l *lane) untilDue(due time.Time) time.Duration {
	wait := due.Sub(l.now())
	if wait > 2*schedule[len(schedule)-1]+time.Minute {
		return 0
	}
	return wait
}

func (l *lane) postpone(g *queue.Group, wait time.Duration) {
	if err := g.Postpone(min(wait, maxPostpone)); err != nil {
		l.log.Debug("cannot postpone parked notifications: they come again by themselves", "error", err)
	}
}

// fanOut makes the jobs of h: one for each destination of each record that the
// target wants.
func (l *lane) fanOut(ctx context.Context, g *queue.Group, h *holding) {
	h.jobs = make([]job, 0, len(g.Records))
	for i := range g.Records {
		j := job{record: &g.Records[i], from: h}
		if !l.callWants(j.record) {
			l.tell(&j, Attempt{Skipped: true})
			continue
		}
		if l.Destinations == nil {
			h.add(j)
			continue
		}
		all, err := l.callDestinations(ctx, j.record)
		if err != nil {
			j.nowhere = err
			h.add(j)
			continue
		}
		if only := j.record.Destination; only != "" {
			at := slices.IndexFunc(all, func(d Destination) bool { return d.Key == only })
			if at < 0 {
				l.tell(&j, Attempt{Result: Result{Outcome: Gone, Reason: "gone"}})
				continue
			}
			all = all[at : at+1]
		}
		if len(all) == 0 {
			l.tell(&j, Attempt{Skipped: true})
			continue
		}
		for _, d := range all {
			r := *j.record
			r.Destination = d.Key
			j.record, j.service = &r, cmp.Or(d.Service, d.Key)
			h.add(j)
		}
	}
}

// mustWait is what all jobs of h have to wait for at least; nothing if one can
// be attempted.
func (l *lane) mustWait(h *holding) (least obstacle) {
	for i := range h.jobs {
		j := &h.jobs[i]
		in := l.obstacle(j)
		if l.line.full(j) && in.wait < overflowWait {
			in = obstacle{wait: overflowWait}
		}
		if in.wait == 0 || l.expired(j) {
			return obstacle{}
		}
		if least.wait == 0 || in.wait < least.wait {
			least = in
		}
	}
	return least
}

// obstacle is what the next attempt for j has to wait for, if it is sure that
// it would be in vain.
func (l *lane) obstacle(j *job) obstacle {
	if j.service == "" {
		return obstacle{}
	}
	return l.services.obstacle(j, l.now())
}

// enqueue lets the jobs of h wait for a worker. Those that nobody will come
// for soon are parked, together.
func (l *lane) enqueue(h *holding) {
	var overflow []*job
	down := make(map[string][]*job) // by what they wait for
	var obstacles []obstacle
	for i := range h.jobs {
		j := &h.jobs[i]
		if j.nowhere != nil {
			j.record.Attempts++
			if errors.Is(j.nowhere, ErrRefused) {
				l.giveUp(j, Result{Outcome: Refused, Reason: reasonDestinations, Err: j.nowhere}, 0)
				continue
			}
			l.failed(j, Result{Reason: reasonDestinations, Err: j.nowhere}, 0, "")
			continue
		}
		if in := l.obstacle(j); in.wait > 0 && !l.expired(j) {
			if down[in.waitsFor] == nil {
				obstacles = append(obstacles, in)
			}
			down[in.waitsFor] = append(down[in.waitsFor], j)
			continue
		}
		instead, full := l.line.add(j)
		switch {
		case full:
			overflow = append(overflow, j)
		case instead != nil:
			l.coalesced(instead)
		}
	}
	l.park(overflow, queue.Parked{Due: l.now().Add(overflowWait), Reason: reasonOverflow})
	for _, in := range obstacles {
		l.parkBehind(down[in.waitsFor], in)
	}
}
