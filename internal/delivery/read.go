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

// maxPostpone bounds how long a parked group is postponed, and thus what a
// clock that jumped forward costs.
var maxPostpone = time.Minute

// read turns the groups of a reader into jobs until ctx ends.
func (r *runner) read(ctx context.Context, reader *queue.Reader) {
	defer reader.Close()
	compactor := &compactor{runner: r, reader: reader}
	for r.awaitCapacity(ctx) {
		most := maxTake
		if r.breakers.isDown() {
			most = 1
		}
		groups, err := reader.Take(ctx, most, r.inflight.free())
		if err != nil {
			r.pause(ctx, err)
			continue
		}
		for _, g := range compactor.compact(ctx, groups) {
			if ctx.Err() != nil {
				_ = g.Nak()
				continue
			}
			r.dispatch(ctx, g)
		}
	}
}

// awaitCapacity waits until more may be taken from the queue. While the target
// is down, only as much is taken as is needed for probes and trials. The rest
// stays in the queue.
func (r *runner) awaitCapacity(ctx context.Context) bool {
	for {
		room := r.inflight.wait()
		if r.inflight.free() > 0 && (!r.breakers.isDown() || r.inflight.count() < r.Workers/2) {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-room:
		}
	}
}

// pause waits a moment after the queue failed.
func (r *runner) pause(ctx context.Context, err error) {
	if errors.Is(err, queue.ErrNoMore) || ctx.Err() != nil {
		return
	}
	r.log.Debug("cannot read the queue", "error", err)
	select {
	case <-ctx.Done():
	case <-time.After(queueRetryDelay):
	}
}

// dispatch turns a group into jobs.
func (r *runner) dispatch(ctx context.Context, g *queue.Group) {
	if wait := r.untilDue(g.Due); g.WasParked && wait > 0 && !r.recovery.due(g) {
		if superseded := r.superseded.postponed(g); superseded != nil {
			r.coalesceParked(g, superseded)
			return
		}
		r.nakWithDelay(g, wait)
		if r.recovery.postponed(g) {
			_ = g.Nak()
		}
		return
	}
	if g.WasParked {
		r.recovery.taken(g)
		r.superseded.taken(g)
	}
	h := &batch{group: g, id: groupID{g.WasParked, g.Sequence}}
	var held bool
	if h.ended, held = r.inflight.redelivered(h.id); held {
		return
	}
	r.fanOut(ctx, g, h)
	if len(h.jobs) == 0 {
		if err := g.Ack(); err != nil {
			r.log.Debug("an acknowledgement was lost", "error", err)
		}
		return
	}
	if in := r.mustWait(h); g.WasParked && in.wait > 0 {
		r.nakWithDelay(g, in.wait)
		if in.waitsFor != "" {
			r.recovery.blocked(in.waitsFor, g)
		}
		return
	}
	r.inflight.add(h)
	r.enqueue(h)
}

// untilDue returns the time until due. If that is longer than any delay, the
// clock was set back, and it is due now.
func (r *runner) untilDue(due time.Time) time.Duration {
	wait := due.Sub(r.now())
	if wait > 2*schedule[len(schedule)-1]+time.Minute {
		return 0
	}
	return wait
}

func (r *runner) nakWithDelay(g *queue.Group, wait time.Duration) {
	if err := g.NakWithDelay(min(wait, maxPostpone)); err != nil {
		r.log.Debug("cannot postpone parked notifications; the queue delivers them again later", "error", err)
	}
}

// fanOut makes the jobs of a batch: one for each destination of each record
// that the target wants.
func (r *runner) fanOut(ctx context.Context, g *queue.Group, h *batch) {
	h.jobs = make([]job, 0, len(g.Records))
	for i := range g.Records {
		j := job{record: &g.Records[i], from: h}
		if !r.callWants(j.record) {
			r.report(&j, Attempt{Skipped: true})
			continue
		}
		if r.Destinations == nil {
			h.add(j)
			continue
		}
		all, err := r.callDestinations(ctx, j.record)
		if err != nil {
			j.routeErr = err
			h.add(j)
			continue
		}
		if only := j.record.Destination; only != "" {
			at := slices.IndexFunc(all, func(d Destination) bool { return d.Key == only })
			if at < 0 {
				r.report(&j, Attempt{Result: Result{Outcome: Gone, Reason: "gone"}})
				continue
			}
			all = all[at : at+1]
		}
		if len(all) == 0 {
			r.report(&j, Attempt{Skipped: true})
			continue
		}
		for _, d := range all {
			rec := *j.record
			rec.Destination = d.Key
			j.record, j.service, j.silenced = &rec, cmp.Or(d.Service, d.Key), d.Silenced
			j.hold = d.Hold
			h.add(j)
		}
	}
}

// mustWait returns what all jobs of a batch must wait for at least, or nothing
// if one can be attempted.
func (r *runner) mustWait(h *batch) (least obstacle) {
	for i := range h.jobs {
		j := &h.jobs[i]
		in := r.breakers.obstacle(j, r.now())
		if r.dispatcher.full(j) && in.wait < overflowWait {
			in = obstacle{wait: overflowWait}
		}
		if in.wait == 0 || r.expired(j) || j.silenced != "" {
			return obstacle{}
		}
		if least.wait == 0 || in.wait < least.wait {
			least = in
		}
	}
	return least
}

// enqueue adds the jobs of a batch to the dispatcher. Those that cannot be
// attempted soon are parked together.
func (r *runner) enqueue(h *batch) {
	var overflow []*job
	down := make(map[string][]*job) // by what they wait for
	var obstacles []obstacle
	for i := range h.jobs {
		j := &h.jobs[i]
		if j.routeErr != nil {
			r.unroutable(j)
			continue
		}
		if j.silenced != "" {
			r.silence(j)
			continue
		}
		if in := r.breakers.obstacle(j, r.now()); in.wait > 0 && !r.expired(j) {
			if down[in.waitsFor] == nil {
				obstacles = append(obstacles, in)
			}
			down[in.waitsFor] = append(down[in.waitsFor], j)
			continue
		}
		instead, full := r.dispatcher.add(j)
		switch {
		case full:
			overflow = append(overflow, j)
		case instead != nil:
			r.coalesce(instead)
		}
	}
	r.park(overflow, queue.Parked{Due: r.now().Add(overflowWait), Reason: reasonOverflow})
	for _, in := range obstacles {
		r.parkUntil(down[in.waitsFor], in)
	}
}
