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
	typical := 0 // bytes of a group
	crowd := &crowd{lane: l, reader: reader}
	for l.awaitRoom(ctx) {
		most := min(max(l.holdings.free()/max(typical, 1), 1), maxTake)
		if l.gate.isDown() {
			most = 1
		}
		groups, err := reader.Take(ctx, most)
		if err != nil {
			l.pause(ctx, err)
			continue
		}
		size, taken := 0, len(groups)
		for _, g := range crowd.thinOut(ctx, groups) {
			if ctx.Err() != nil {
				_ = g.Return()
				continue
			}
			size += l.dispatch(ctx, g)
		}
		typical = max(size/taken, typical/2)
	}
}

// awaitRoom waits until more may be taken from the queue. While the target is
// down that is no more than the single attempts need: the rest stays where it
// is.
func (l *lane) awaitRoom(ctx context.Context) bool {
	for {
		room := l.holdings.wait()
		if l.holdings.free() > 0 && (!l.gate.isDown() || l.holdings.empty()) {
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

// dispatch makes jobs of a group. It returns its size in bytes.
func (l *lane) dispatch(ctx context.Context, g *queue.Group) int {
	if wait := l.untilDue(g.Due); g.WasParked && wait > 0 {
		if overtaken := l.late.putsOff(g); overtaken != nil {
			l.coalescedLate(g, overtaken)
		} else {
			l.postpone(g, wait)
		}
		return 0
	}
	h := &holding{group: g, id: groupID{g.WasParked, g.Sequence}}
	var held bool
	if h.ended, held = l.holdings.comesAgain(h.id); held {
		return 0
	}
	l.fanOut(ctx, g, h)
	if len(h.jobs) == 0 {
		if err := g.Settle(); err != nil {
			l.log.Debug("an acknowledgement was lost", "error", err)
		}
		return 0
	}
	if wait := l.mustWait(h); g.WasParked && wait > 0 {
		l.postpone(g, wait)
		return 0
	}
	size := h.size // of what may have ended when this function does
	l.holdings.hold(h)
	l.enqueue(h)
	return size
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

// mustWait is how long no job of h can be attempted at least; 0 if one can.
func (l *lane) mustWait(h *holding) (wait time.Duration) {
	for i := range h.jobs {
		j := &h.jobs[i]
		w := l.services.wait(j.service, l.now())
		if l.line.full(j) {
			w = max(w, overflowWait)
		}
		if w == 0 || l.expired(j) {
			return 0
		}
		if wait == 0 || w < wait {
			wait = w
		}
	}
	return wait
}

// enqueue lets the jobs of h wait for a worker. Those that nobody will come
// for soon are parked, together.
func (l *lane) enqueue(h *holding) {
	var overflow, down []*job
	for i := range h.jobs {
		j := &h.jobs[i]
		if j.nowhere != nil {
			j.record.Attempts++
			if errors.Is(j.nowhere, ErrRefused) {
				l.giveUp(j, Result{Outcome: Refused, Reason: reasonDestinations, Err: j.nowhere}, 0)
				continue
			}
			l.failed(j, Result{Reason: reasonDestinations, Err: j.nowhere}, 0)
			continue
		}
		if l.services.wait(j.service, l.now()) > 0 && !l.expired(j) {
			down = append(down, j)
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
	l.park(overflow, l.now().Add(overflowWait), reasonOverflow)
	l.park(down, l.now().Add(jitter(step(1))), reasonServiceDown)
}
