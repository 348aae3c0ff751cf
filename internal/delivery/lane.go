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

// graceful is how long an attempt that is under way may still take when the
// engine stops.
var graceful = 5 * time.Second

// breath is how long a lane waits when the queue itself fails.
const breath = time.Second

// lane serves one target.
type lane struct {
	Lane
	queue   *queue.Queue
	maxAge  time.Duration
	log     *slog.Logger
	observe func(Attempt)
	paused  func(target string, paused bool, r Result)
	now     func() time.Time

	gate     *gate     // of a target with one destination
	services *services // of the others
	recovery *recovery
	line     *line
	late     *late // of a lane that coalesces
	holdings *holdings
	inFlight atomic.Int64

	mu   sync.Mutex
	back []*job // go back to the queue when the lane stops
}

func newLane(l Lane, cfg Config, memory int) *lane {
	var remembers *late
	if l.Coalesce > 0 {
		remembers = newLate()
	}
	remembered := newHealth()
	return &lane{
		late: remembers,
		Lane: l, queue: cfg.Queue, maxAge: cfg.MaxAge, observe: cfg.Observe, paused: cfg.Paused, now: time.Now,
		log:      cfg.Logger.With("target", l.Name),
		gate:     newGate(remembered),
		services: newServices(remembered),
		recovery: newRecovery(),
		line:     newLine(max(l.Workers/2, 1), l.Coalesce),
		holdings: newHoldings(memory),
	}
}

// run serves the target until ctx ends and everything it took is settled.
func (l *lane) run(ctx context.Context) {
	var readers, workers, upkeep sync.WaitGroup
	// Attempts under way get a moment when the lane stops.
	attempts, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		l.line.close()
		time.AfterFunc(graceful, cancel)
	})()

	readers.Go(func() { l.read(ctx, l.queue.NewReader(l.Name)) })
	readers.Go(func() { l.read(ctx, l.queue.NewParkedReader(l.Name)) })
	for range l.Workers {
		workers.Go(func() {
			for j := l.line.take(); j != nil; j = l.line.take() {
				l.work(ctx, attempts, j)
			}
		})
	}
	done := make(chan struct{})
	upkeep.Go(func() { l.holdings.keep(done) })

	readers.Wait()
	workers.Wait()
	l.giveBack(append(l.back, l.line.drain()...))
	close(done)
	upkeep.Wait()
}

// laterOn gives j back to the queue when the lane has stopped.
func (l *lane) laterOn(j *job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.back = append(l.back, j)
}

// giveBack returns what was not attempted to the queue when the lane stops.
// Groups that nothing was attempted of go back as they are. The rest of the
// others is parked, so that they can be settled and nothing is delivered twice
// without need.
func (l *lane) giveBack(back []*job) {
	waiting := make(map[*holding]int)
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
		if h.open.Add(-1) == 0 {
			_ = h.group.Return()
			l.holdings.release(h)
		}
	}
	l.park(rest, queue.Parked{Due: l.now(), Reason: reasonInterrupted})
}

// settle ends j, see [holdings.settle].
func (l *lane) settle(j *job, settled bool) {
	if err := l.holdings.settle(j, settled); err != nil {
		l.log.Debug("an acknowledgement was lost", "error", err)
	}
}

// Reasons for which notifications are parked or die without an attempt.
const (
	reasonInterrupted     = "interrupted"      // the engine stopped
	reasonOverflow        = "overflow"         // too many wait for one mailbox
	reasonServiceDown     = "service_down"     // the destination's service is left alone
	reasonDestinationDown = "destination_down" // the destination itself is
	reasonExpired         = "expired"          // older than max_age
	reasonDestinations    = "destinations"     // it could not be found out where to
)

// park stores jobs for later, together, and settles them. Where the queue cannot take
// them they stay unsettled: it gives them out again.
func (l *lane) park(all []*job, p queue.Parked) {
	if len(all) == 0 {
		return
	}
	p.At = l.now()
	p.Records = make([]queue.Record, len(all))
	for i, j := range all {
		p.Records[i] = *j.record
		l.late.seen(j)
	}
	err := l.queue.Park(context.Background(), l.Name, p) // which takes a few seconds at most
	if err != nil {
		l.log.Error("the queue cannot park notifications: they will be attempted again", "error", err)
	}
	for _, j := range all {
		l.settle(j, err == nil)
	}
}

// parkBehind parks what cannot be attempted because of an obstacle.
func (l *lane) parkBehind(all []*job, in obstacle) {
	if in.of == ill {
		in.wait = max(in.wait, jitter(step(1)))
	}
	l.park(all, queue.Parked{Due: l.now().Add(in.wait), Reason: in.reason, WaitsFor: in.waitsFor})
}
