// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// graceful is how long an attempt in progress may still take when the engine
// stops.
var graceful = 5 * time.Second

// queueRetryDelay is how long a runner waits when the queue itself fails.
const queueRetryDelay = time.Second

// runner drives one target.
type runner struct {
	Target
	queue   *queue.Queue
	maxAge  time.Duration
	log     *slog.Logger
	observe func(Attempt)
	paused  func(target string, paused bool, r Result)
	now     func() time.Time

	breakers   breakers
	announce   func(*job, effect, Result) // says what an attempt changed in the breakers
	recovery   *recovery
	dispatcher *dispatcher
	superseded *superseded // of a target that coalesces
	inflight   *inflight
	inFlight   atomic.Int64
	holding    sync.WaitGroup // silenced jobs that are not kept yet

	mu        sync.Mutex
	unstarted []*job // go back to the queue when the runner stops
}

func newRunner(l Target, cfg Config, memory int) *runner {
	var remembers *superseded
	if l.Coalesce > 0 {
		remembers = newSuperseded()
	}
	r := &runner{
		superseded: remembers,
		Target:     l, queue: cfg.Queue, maxAge: cfg.MaxAge, observe: cfg.Observe, paused: cfg.Paused, now: time.Now,
		log:      cfg.Logger.With("target", l.Name),
		recovery: newRecovery(),
		inflight: newInflight(memory),
	}
	share := l.Workers
	if l.Destinations == nil {
		r.breakers, r.announce = newTargetBreaker(newHealth()), r.announceTarget
	} else {
		r.breakers, r.announce = newServiceBreakers(newHealth()), r.announceService
		share = max(l.Workers/2, 1)
	}
	r.dispatcher = newDispatcher(share, l.Coalesce)
	return r
}

// run drives the target until ctx ends and everything it took is acknowledged
// or returned.
func (r *runner) run(ctx context.Context) {
	var readers, workers, upkeep sync.WaitGroup
	// Attempts in progress get a moment when the runner stops.
	attempts, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		r.dispatcher.close()
		time.AfterFunc(graceful, cancel)
	})()

	readers.Go(func() { r.read(ctx, r.queue.NewReader(r.Name)) })
	readers.Go(func() { r.read(ctx, r.queue.NewParkedReader(r.Name)) })
	for range r.Workers {
		workers.Go(func() {
			for j := r.dispatcher.take(); j != nil; j = r.dispatcher.take() {
				r.attempt(ctx, attempts, j)
			}
		})
	}
	done := make(chan struct{})
	upkeep.Go(func() { r.inflight.extendLoop(done) })

	readers.Wait()
	workers.Wait()
	r.holding.Wait()
	r.nakAll(append(r.unstarted, r.dispatcher.drain()...))
	close(done)
	upkeep.Wait()
}

// requeue gives j back to the queue when the runner has stopped.
func (r *runner) requeue(j *job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unstarted = append(r.unstarted, j)
}

// nakAll returns what was not attempted to the queue when the runner stops.
// Groups of which nothing was attempted go back as they are. The rest of the
// others is parked, so that they can be acknowledged and nothing is delivered
// twice unnecessarily.
func (r *runner) nakAll(back []*job) {
	waiting := make(map[*batch]int)
	for _, j := range back {
		waiting[j.from]++
	}
	var rest []*job
	for _, j := range back {
		h := j.from
		if waiting[h] < len(h.jobs) || len(h.ended) > 0 {
			rest = append(rest, j)
			continue
		}
		if h.remaining.Add(-1) == 0 {
			_ = h.group.Nak()
			r.inflight.release(h)
		}
	}
	r.park(rest, queue.Parked{Due: r.now(), Reason: reasonInterrupted})
}

// finish ends j, see [inflight.finish].
func (r *runner) finish(j *job, acked bool) {
	if err := r.inflight.finish(j, acked); err != nil {
		r.log.Debug("an acknowledgement was lost", "error", err)
	}
}

// Reasons for which notifications are parked or die without an attempt.
const (
	reasonInterrupted     = "interrupted"      // the engine stopped
	reasonOverflow        = "overflow"         // too many wait for one mailbox
	reasonServiceDown     = "service_down"     // the destination's service is down
	reasonDestinationDown = "destination_down" // the destination itself is down
	reasonExpired         = "expired"          // older than max_age
	reasonDestinations    = "destinations"     // its destinations could not be found out
)

// park stores jobs for later, together, and acknowledges them. If the queue
// cannot store them, they stay unacknowledged, and it delivers them again.
func (r *runner) park(all []*job, p queue.Parked) {
	if len(all) == 0 {
		return
	}
	p.At = r.now()
	p.Records = make([]queue.Record, len(all))
	for i, j := range all {
		p.Records[i] = *j.record
		r.superseded.seen(j)
	}
	err := r.queue.Park(context.Background(), r.Name, p) // which takes a few seconds at most
	if err != nil {
		r.log.Error("the queue cannot park notifications: they will be attempted again", "error", err)
	}
	for _, j := range all {
		r.finish(j, err == nil)
	}
}

// parkUntil parks jobs that cannot be attempted because of an obstacle.
func (r *runner) parkUntil(all []*job, in obstacle) {
	if in.of == failing {
		in.wait = max(in.wait, spread(step(1)))
	}
	r.park(all, queue.Parked{Due: r.now().Add(in.wait), Reason: in.reason, WaitsFor: in.waitsFor})
}
