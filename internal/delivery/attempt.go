// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Attempt is the argument of Observe: an attempt, or the end of a notification
// without one (Took is 0 then).
type Attempt struct {
	Target string
	ID     notification.Identity
	Result Result
	// Attempts is how many were made until now, including this one.
	Attempts int
	// Took is how long the attempt took; Age is how long ago the notification
	// was accepted.
	Took, Age time.Duration
	// Dead is whether the notification became a dead letter.
	Dead bool
	// Coalesced is whether a newer notification was delivered in its place.
	Coalesced bool
	// Skipped is whether there was nothing to do: the target does not want the
	// notification, or has no destination for it.
	Skipped bool
	// Silenced is whether the destination wanted no message about the
	// notification. The Reason of the Result says why.
	Silenced bool
	// TraceParent is that of the record.
	TraceParent string
}

// Ended reports whether the target is done with the notification.
func (a *Attempt) Ended() bool {
	return a.Dead || a.Coalesced || a.Skipped || a.Silenced || a.Result.Outcome == Delivered || a.Result.Outcome == Gone
}

// attempt makes one attempt for j, and ends it.
func (r *runner) attempt(stop, attempts context.Context, j *job) {
	if r.expired(j) {
		r.deadLetter(j, Result{Reason: reasonExpired}, 0)
		return
	}
	p, ok := r.admit(stop, j)
	if !ok {
		return
	}
	if r.expired(j) { // while it waited
		r.breakers.cancel(j, p)
		r.deadLetter(j, Result{Reason: reasonExpired}, 0)
		return
	}
	if r.superseded.supersedes(j) {
		r.breakers.cancel(j, p)
		r.dispatcher.done(j, false)
		r.coalesce(j)
		return
	}
	start := time.Now()
	r.inFlight.Add(1)
	ctx, cancel := context.WithTimeout(attempts, r.Timeout)
	result := r.callDeliver(ctx, j.record)
	cancel()
	r.inFlight.Add(-1)
	ended := result.Outcome == Delivered || result.Outcome == Gone
	if attempts.Err() != nil && !ended { // we ended it; the target is not to blame
		r.breakers.cancel(j, p)
		r.requeue(j)
		return
	}
	blamed := r.recordResult(j, p, result)
	took := max(time.Since(start), 1)
	j.record.Attempts++
	switch {
	case ended:
		r.dispatcher.done(j, true)
		r.report(j, Attempt{Result: result, Took: took})
		r.finish(j, true)
		for _, p := range r.superseded.delivered(j) {
			r.coalesceParked(p.group, p.job)
		}
	case result.Outcome == Refused:
		r.deadLetter(j, result, took)
	default:
		r.failed(j, result, took, blamed)
	}
}

// admit waits until the attempt for j may be made. If it may not, j has ended.
func (r *runner) admit(stop context.Context, j *job) (p pass, ok bool) {
	p, in, err := r.breakers.admit(stop, j, r.now)
	switch {
	case err != nil:
		r.requeue(j)
	case in.wait > 0:
		r.parkUntil(append([]*job{j}, r.dispatcher.failed(j)...), in)
	default:
		return p, true
	}
	return p, false
}

// recordResult records the result of the attempt for j. blamed is what made it
// fail, if that is more than j.
func (r *runner) recordResult(j *job, p pass, result Result) (blamed string) {
	e := r.breakers.done(j, p, result, r.now())
	r.announce(j, e, result)
	if result.answered() {
		r.recovery.works(e.shared, e.change == cameBack, r.now())
	}
	if e.recovered {
		r.recovery.works(forDestination(j), true, r.now())
	}
	if e.blamed {
		return e.shared
	}
	return ""
}

// announceTarget says that a target went down or came back.
func (r *runner) announceTarget(_ *job, e effect, result Result) {
	switch {
	case e.change == wentDown && result.Outcome == Misconfigured:
		r.log.Error("the target refuses us: delivery is paused until that is fixed; nothing is lost",
			"reason", result.Reason, "error", result.Err)
		r.paused(r.Name, true, result)
	case e.change == wentDown:
		r.log.Warn("the target is down: notifications wait in the queue", "reason", result.Reason, "error", result.Err)
		r.paused(r.Name, true, result)
	case e.change == cameBack:
		r.log.Info("the target is back", "down_for", e.lasted.Round(time.Millisecond))
		r.inflight.signal()
		r.paused(r.Name, false, result)
	}
}

// announceService says that a service refuses us. Others go down and come back
// all the time.
func (r *runner) announceService(j *job, e effect, result Result) {
	if e.change == wentDown && result.Outcome == Misconfigured {
		r.log.Warn("a service refuses us: deliveries to it wait; nothing is lost",
			"service", j.service, "reason", result.Reason, "error", result.Err)
	}
}

// unroutable ends j, whose destinations are unknown. It was not dispatched.
func (r *runner) unroutable(j *job) {
	j.record.Attempts++
	result := Result{Reason: reasonDestinations, Err: j.routeErr}
	if errors.Is(j.routeErr, ErrRefused) {
		result.Outcome = Refused
		r.finish(j, r.storeDeadLetter(j, result, 0))
		return
	}
	r.report(j, Attempt{Result: result})
	r.park([]*job{j}, r.retry(j, result, ""))
}

// retry is how a job is parked for its next attempt. It is due as soon as
// blamed works again.
func (r *runner) retry(j *job, result Result, blamed string) queue.Parked {
	return queue.Parked{Due: r.now().Add(nextAttempt(j.record.Attempts, result.After)), Reason: result.Reason, WaitsFor: blamed}
}

// failed parks j for its next attempt, together with the jobs behind it. If the
// target coalesces, the newer job takes its place. If the whole target is down,
// the jobs behind it stay where they are.
func (r *runner) failed(j *job, result Result, took time.Duration, blamed string) {
	r.report(j, Attempt{Result: result, Took: took})
	p := r.retry(j, result, blamed)
	if r.breakers.isDown() {
		r.dispatcher.done(j, false)
		r.park([]*job{j}, p)
		return
	}
	behind := r.dispatcher.failed(j)
	if r.Coalesce > 0 && len(behind) > 0 {
		newer := behind[0]
		newer.record.Attempts = max(newer.record.Attempts, j.record.Attempts)
		r.coalesce(j)
		r.park(behind, p)
		return
	}
	r.park(append([]*job{j}, behind...), p)
}

// coalesce ends j: a newer one is delivered in its place.
func (r *runner) coalesce(j *job) {
	r.report(j, Attempt{Coalesced: true})
	r.finish(j, true)
}

// silence ends j, which was not dispatched: its destination wants no message about
// it.
func (r *runner) silence(j *job) {
	r.report(j, Attempt{Silenced: true, Result: Result{Reason: j.silenced}})
	if j.hold == nil {
		r.finish(j, true)
		return
	}
	r.holding.Add(1)
	var once sync.Once
	r.callHold(j, func(err error) {
		once.Do(func() {
			defer r.holding.Done()
			if err != nil {
				r.log.Debug("what a destination is not notified of cannot be kept: the queue delivers it again", "error", err)
			}
			r.finish(j, err == nil)
		})
	})
}

// coalesceParked does the same with a parked job.
func (r *runner) coalesceParked(group acker, j *job) {
	r.report(j, Attempt{Coalesced: true})
	if err := group.Ack(); err != nil {
		r.log.Debug("an acknowledgement was lost", "error", err)
	}
}

// deadLetter makes a dead letter of j, which was dispatched. The jobs behind it
// proceed once the letter is stored: the dead letters of a mailbox keep its
// order.
func (r *runner) deadLetter(j *job, result Result, took time.Duration) {
	stored := r.storeDeadLetter(j, result, took)
	r.dispatcher.done(j, false)
	r.finish(j, stored)
}

// storeDeadLetter reports whether the queue stored it. Otherwise j stays
// unacknowledged, and the queue delivers it again.
func (r *runner) storeDeadLetter(j *job, result Result, took time.Duration) bool {
	err := r.queue.DeadLetter(context.Background(), r.Name, j.record, result.Reason) // bounded by the queue
	if err != nil {
		r.log.Error("the queue cannot store a dead letter: the notification will be attempted again", "error", err)
		return false
	}
	r.report(j, Attempt{Result: result, Took: took, Dead: true})
	r.log.Warn("a notification became a dead letter", "id", j.record.ID, "reason", result.Reason, "error", result.Err)
	return true
}

func (r *runner) report(j *job, a Attempt) {
	a.Target, a.ID, a.Attempts, a.TraceParent = r.Name, j.record.ID, j.record.Attempts, j.record.TraceParent
	a.Age = max(r.now().Sub(j.record.Accepted), 0)
	r.observe(a)
}

func (r *runner) expired(j *job) bool { return r.now().Sub(j.since()) > r.maxAge }
