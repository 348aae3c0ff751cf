// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// graceful is how long an attempt that is under way may still take when the
// engine stops.
var graceful = 5 * time.Second

const (
	// breath is how long a lane waits when the queue itself fails.
	breath = time.Second
	// maxPostpone bounds how long the queue keeps a parked notification for
	// itself; a clock that jumped then costs no more than this.
	maxPostpone = time.Minute
)

// lane serves one target.
type lane struct {
	Lane
	queue   *queue.Queue
	gate    *gate
	maxAge  time.Duration
	log     *slog.Logger
	observe func(Attempt)

	jobs chan job

	mu   sync.Mutex
	held map[*holding]struct{}
	// settled are notifications of groups that could not be settled as a
	// whole: those groups come again.
	settled map[notification.Identity]struct{}
}

// job is one attempt to be made.
type job struct {
	record   *queue.Record
	attempts int // that failed so far
	from     *holding
}

func newLane(l Lane, cfg Config) *lane {
	observe := cfg.Observe
	if observe == nil {
		observe = func(Attempt) {}
	}
	return &lane{
		Lane: l, queue: cfg.Queue, maxAge: cfg.MaxAge, observe: observe,
		log:     cfg.Logger.With("target", l.Name),
		gate:    newGate(),
		jobs:    make(chan job),
		held:    make(map[*holding]struct{}),
		settled: make(map[notification.Identity]struct{}),
	}
}

// run serves the target until ctx ends and everything it took is settled.
func (l *lane) run(ctx context.Context) {
	var readers, workers, upkeep sync.WaitGroup
	// Attempts under way get a moment when the lane stops.
	attempts, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(graceful, cancel) })()

	readers.Go(func() { l.readAccepted(ctx) })
	readers.Go(func() { l.readParked(ctx) })
	for range l.Workers {
		workers.Go(func() {
			for j := range l.jobs {
				l.settle(j, l.work(ctx, attempts, j))
			}
		})
	}
	done := make(chan struct{})
	upkeep.Go(func() { l.keepHeld(done) })

	readers.Wait()
	close(l.jobs)
	workers.Wait()
	close(done)
	upkeep.Wait()
}

// readAccepted turns the groups of the queue into jobs.
func (l *lane) readAccepted(ctx context.Context) {
	reader := l.queue.NewReader(l.Name)
	for ctx.Err() == nil {
		group, err := reader.Next(ctx)
		if err != nil {
			l.pause(ctx, err)
			continue
		}
		if ctx.Err() != nil {
			_ = group.Return()
			break
		}
		h := l.hold(group, len(group.Records))
		for i := range group.Records {
			j := job{record: &group.Records[i], from: h}
			if l.isSettled(j.record.ID) {
				l.settle(j, true)
				continue
			}
			for _, j := range l.fanOut(ctx, j) {
				select {
				case l.jobs <- j:
				case <-ctx.Done():
					l.settle(j, l.giveBack(j))
				}
			}
		}
	}
}

// readParked turns parked records into jobs when they are due.
func (l *lane) readParked(ctx context.Context) {
	reader := l.queue.NewParkedReader(l.Name)
	for ctx.Err() == nil {
		p, err := reader.NextParked(ctx)
		if err != nil {
			l.pause(ctx, err)
			continue
		}
		if wait := time.Until(p.Due); wait > 0 {
			if err := p.Postpone(min(wait, maxPostpone)); err != nil {
				l.pause(ctx, err)
			}
			continue
		}
		j := job{record: &p.Record, attempts: p.Attempts, from: l.hold(p, 1)}
		for _, j := range l.fanOut(ctx, j) {
			select {
			case l.jobs <- j:
			case <-ctx.Done():
				l.settle(j, l.giveBack(j))
			}
		}
	}
}

// fanOut makes one job for each destination of j.
func (l *lane) fanOut(ctx context.Context, j job) []job {
	if l.Destinations == nil {
		return []job{j}
	}
	destinations, err := l.Destinations(ctx, j.record)
	if err != nil {
		j.attempts++
		r := Result{Reason: "destinations", Err: err}
		l.tell(j, r, 0, false)
		l.settle(j, l.park(j, nextAttempt(j.attempts, 0), r.Reason))
		return nil
	}
	if only := j.record.Destination; only != "" {
		destinations = slices.DeleteFunc(slices.Clone(destinations), func(d Destination) bool { return d.Key != only })
		if len(destinations) == 0 {
			l.tell(j, Result{Outcome: Gone}, 0, false)
		}
	}
	if len(destinations) == 0 {
		l.settle(j, true)
		return nil
	}
	l.more(j.from, len(destinations)-1)
	jobs := make([]job, len(destinations))
	for i, d := range destinations {
		r := *j.record
		r.Destination = d.Key
		jobs[i] = job{record: &r, attempts: j.attempts, from: j.from}
	}
	return jobs
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

// work makes one attempt for j. It reports whether the job is settled: the
// queue may forget this copy of the notification.
func (l *lane) work(stop, attempts context.Context, j job) bool {
	if l.expired(j) {
		return l.bury(j, Result{Reason: "expired"}, 0)
	}
	probe, err := l.gate.enter(stop)
	if err != nil {
		return l.giveBack(j)
	}
	if l.expired(j) {
		l.gate.abandon(probe)
		return l.bury(j, Result{Reason: "expired"}, 0)
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(attempts, l.Timeout)
	result := l.Target.Deliver(ctx, j.record)
	cancel()
	if attempts.Err() != nil && result.Outcome != Delivered && result.Outcome != Gone {
		l.gate.abandon(probe)
		return l.giveBack(j) // we ended it, the target is not to blame
	}
	l.report(l.gate.leave(probe, result.Outcome))(result)
	took := time.Since(start)
	j.attempts++
	switch result.Outcome {
	case Delivered, Gone:
		l.tell(j, result, took, false)
		return true
	case Refused:
		return l.bury(j, result, took)
	default:
		l.tell(j, result, took, false)
		return l.park(j, nextAttempt(j.attempts, result.After), result.Reason)
	}
}

func (l *lane) tell(j job, r Result, took time.Duration, dead bool) {
	l.observe(Attempt{Target: l.Name, Result: r, Took: took, Age: time.Since(j.record.Accepted), Dead: dead})
}

func (l *lane) expired(j job) bool { return time.Since(j.record.Accepted) > l.maxAge }

// report logs when a target goes down or comes back.
func (l *lane) report(t transition, down time.Duration) func(Result) {
	return func(r Result) {
		switch {
		case t == wentDown && r.Outcome == Misconfigured:
			l.log.Error("the target refuses us: delivery is paused until that is mended, nothing is lost",
				"reason", r.Reason, "error", r.Err)
		case t == wentDown:
			l.log.Warn("the target is down: notifications wait in the queue", "reason", r.Reason, "error", r.Err)
		case t == cameBack:
			l.log.Info("the target is back", "down_for", down.Round(time.Millisecond))
		}
	}
}

func (l *lane) bury(j job, r Result, took time.Duration) bool {
	ok := l.store(func(ctx context.Context) error {
		return l.queue.Bury(ctx, l.Name, queue.Parked{Record: *j.record, Attempts: j.attempts, Due: time.Now(), Reason: r.Reason})
	})
	if ok {
		l.tell(j, r, took, true)
		l.log.Warn("gave up on a notification: it is a dead letter now", "id", j.record.ID, "reason", r.Reason, "error", r.Err)
	}
	return ok
}

func (l *lane) park(j job, wait time.Duration, reason string) bool {
	return l.store(func(ctx context.Context) error {
		return l.queue.Park(ctx, l.Name, queue.Parked{Record: *j.record, Attempts: j.attempts, Due: time.Now().Add(wait), Reason: reason})
	})
}

// giveBack parks a notification that was not attempted, so that the rest of
// its group can be settled and nothing is delivered twice without need.
func (l *lane) giveBack(j job) bool {
	if p, parked := j.from.keeper.(*queue.Parked); parked {
		_ = p.Return()
		return false
	}
	return l.park(j, 0, "interrupted")
}

// store writes what must not be lost. Where the queue cannot take it, the
// job stays unsettled: the queue gives it out again.
func (l *lane) store(write func(context.Context) error) bool {
	if err := write(context.Background()); err != nil { // which takes a few seconds at most
		l.log.Error("the queue cannot park a notification: it will be attempted again", "error", err)
		return false
	}
	return true
}
