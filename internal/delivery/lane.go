// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// graceful is how long an attempt that is under way may still take when
	// the engine stops.
	graceful = 5 * time.Second
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
	held map[keeper]struct{}
}

// keeper is what a lane holds of the queue: a group or a parked record.
type keeper interface {
	Keep() error
	Settle() error
}

// job is one attempt to be made.
type job struct {
	record   *queue.Record
	attempts int // that failed so far
	from     *holding
}

// holding counts the jobs of a keeper that are still to be settled.
type holding struct {
	keeper
	open atomic.Int64
	lost atomic.Bool // one could not be settled: the queue must give it out again
}

func newLane(l Lane, cfg Config) *lane {
	observe := cfg.Observe
	if observe == nil {
		observe = func(Attempt) {}
	}
	return &lane{
		Lane: l, queue: cfg.Queue, maxAge: cfg.MaxAge, observe: observe,
		log:  cfg.Logger.With("target", l.Name),
		gate: newGate(),
		jobs: make(chan job),
		held: make(map[keeper]struct{}),
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
		h := l.hold(group, len(group.Records))
		for i := range group.Records {
			j := job{record: &group.Records[i], from: h}
			select {
			case l.jobs <- j:
			case <-ctx.Done():
				l.settle(j, l.giveBack(j))
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
		select {
		case l.jobs <- j:
		case <-ctx.Done():
			l.settle(j, false) // it is parked already
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

// work makes one attempt for j. It reports whether the job is settled: the
// queue may forget this copy of the notification.
func (l *lane) work(stop, attempts context.Context, j job) bool {
	if l.expired(j) {
		return l.bury(j, "expired", Attempt{Target: l.Name, Result: Result{Reason: "expired"}})
	}
	probe, err := l.gate.enter(stop)
	if err != nil {
		return l.giveBack(j)
	}
	if l.expired(j) {
		l.gate.abandon(probe)
		return l.bury(j, "expired", Attempt{Target: l.Name, Result: Result{Reason: "expired"}})
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(attempts, l.Timeout)
	result := l.Target.Deliver(ctx, j.record)
	cancel()
	if attempts.Err() != nil && result.Outcome != Delivered {
		l.gate.abandon(probe)
		return l.giveBack(j) // we ended it, the target is not to blame
	}
	l.report(l.gate.leave(probe, result.Outcome))(result)
	attempt := Attempt{Target: l.Name, Result: result, Took: time.Since(start), Age: time.Since(j.record.Accepted)}
	switch result.Outcome {
	case Delivered:
		l.observe(attempt)
		return true
	case Refused:
		return l.bury(j, result.Reason, attempt)
	default:
		l.observe(attempt)
		return l.park(j, j.attempts+1, nextAttempt(j.attempts+1, result.After), result.Reason)
	}
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

func (l *lane) bury(j job, reason string, a Attempt) bool {
	a.Dead = true
	ok := l.store(func(ctx context.Context) error {
		return l.queue.Bury(ctx, l.Name, queue.Parked{Record: *j.record, Attempts: j.attempts + 1, Due: time.Now(), Reason: reason})
	})
	if ok {
		l.observe(a)
		l.log.Warn("gave up on a notification: it is a dead letter now", "id", j.record.ID, "reason", reason, "error", a.Result.Err)
	}
	return ok
}

func (l *lane) park(j job, attempts int, wait time.Duration, reason string) bool {
	return l.store(func(ctx context.Context) error {
		return l.queue.Park(ctx, l.Name, queue.Parked{Record: *j.record, Attempts: attempts, Due: time.Now().Add(wait), Reason: reason})
	})
}

// giveBack parks a notification that was not attempted, so that the rest of
// its group can be settled and nothing is delivered twice without need.
func (l *lane) giveBack(j job) bool {
	if _, parked := j.from.keeper.(*queue.Parked); parked {
		return false
	}
	return l.park(j, 0, 0, "interrupted")
}

// store writes what must not be lost. Where the queue cannot take it, the
// job stays unsettled: the queue gives it out again.
func (l *lane) store(write func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(context.Background(), graceful)
	defer cancel()
	if err := write(ctx); err != nil {
		l.log.Error("the queue cannot park a notification: it will be attempted again", "error", err)
		return false
	}
	return true
}

func (l *lane) hold(k keeper, jobs int) *holding {
	h := &holding{keeper: k}
	h.open.Store(int64(jobs))
	l.mu.Lock()
	l.held[h] = struct{}{}
	l.mu.Unlock()
	return h
}

// settle ends j; the last job of a group settles the group.
func (l *lane) settle(j job, settled bool) {
	h := j.from
	if !settled {
		h.lost.Store(true)
	}
	if h.open.Add(-1) > 0 {
		return
	}
	l.mu.Lock()
	delete(l.held, h)
	l.mu.Unlock()
	if h.lost.Load() {
		return
	}
	if err := h.Settle(); err != nil {
		l.log.Debug("an acknowledgement was lost: some notifications will be delivered again", "error", err)
	}
}

// keepHeld tells the queue that what the lane holds is still worked on, also
// while the gate is closed for hours.
func (l *lane) keepHeld(done <-chan struct{}) {
	tick := time.NewTicker(queue.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		l.mu.Lock()
		held := make([]keeper, 0, len(l.held))
		for k := range l.held {
			held = append(held, k)
		}
		l.mu.Unlock()
		for _, k := range held {
			_ = k.Keep()
		}
	}
}
