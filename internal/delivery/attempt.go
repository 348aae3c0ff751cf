// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Attempt is what Observe gets: an attempt, or what came of a notification
// without one (Took is 0 then).
type Attempt struct {
	Target string
	ID     notification.Identity
	Result Result
	// Attempts is how many were made so far, this one included.
	Attempts int
	// Took is how long the attempt took; Age is how long ago the notification
	// was accepted.
	Took, Age time.Duration
	// Dead tells that the notification became a dead letter.
	Dead bool
	// Coalesced tells that a newer notification was delivered in its place.
	Coalesced bool
	// Skipped tells that there was nothing to do: the target does not want the
	// notification, or has no destination for it.
	Skipped bool
	// TraceParent is that of the record.
	TraceParent string
}

// Ended tells that the target is done with the notification.
func (a *Attempt) Ended() bool {
	return a.Dead || a.Coalesced || a.Skipped || a.Result.Outcome == Delivered || a.Result.Outcome == Gone
}

// work makes one attempt for j, and ends it.
func (l *lane) work(stop, attempts context.Context, j *job) {
	if l.expired(j) {
		l.bury(j, Result{Reason: reasonExpired}, 0)
		return
	}
	p, ok := l.enter(stop, j)
	if !ok {
		return
	}
	if l.expired(j) { // while it waited
		l.abandon(j, p)
		l.bury(j, Result{Reason: reasonExpired}, 0)
		return
	}
	if l.late.overtakes(j) {
		l.abandon(j, p)
		l.line.done(j, false)
		l.coalesced(j)
		return
	}
	start := time.Now()
	l.inFlight.Add(1)
	ctx, cancel := context.WithTimeout(attempts, l.Timeout)
	result := l.callDeliver(ctx, j.record)
	cancel()
	l.inFlight.Add(-1)
	ended := result.Outcome == Delivered || result.Outcome == Gone
	if attempts.Err() != nil && !ended { // we ended it, the target is not to blame
		l.abandon(j, p)
		l.laterOn(j)
		return
	}
	blamed := l.leave(j, p, result)
	took := max(time.Since(start), 1)
	j.record.Attempts++
	switch {
	case ended:
		l.line.done(j, true)
		l.tell(j, Attempt{Result: result, Took: took})
		l.settle(j, true)
		for _, p := range l.late.delivered(j) {
			l.coalescedLate(p.group, p.job)
		}
	case result.Outcome == Refused:
		l.bury(j, result, took)
	default:
		l.failed(j, result, took, blamed)
	}
}

// enter waits until the attempt for j may be made. If it may not, j has ended.
func (l *lane) enter(stop context.Context, j *job) (p pass, ok bool) {
	if j.service == "" {
		p, err := l.gate.enter(stop, itemOf(j))
		if err != nil {
			l.laterOn(j)
		}
		return p, err == nil
	}
	p, in := l.services.enter(j, l.now())
	if in.wait > 0 {
		l.parkBehind(append([]*job{j}, l.line.failed(j)...), in)
	}
	return p, in.wait == 0
}

func (l *lane) abandon(j *job, p pass) {
	if j.service == "" {
		l.gate.abandon(p)
	} else {
		l.services.abandon(j, p)
	}
}

// leave notes how the attempt for j ended, and says when a target goes down or
// comes back. blamed is what made it fail, if it is more than j.
func (l *lane) leave(j *job, p pass, r Result) (blamed string) {
	if j.service != "" {
		return l.leaveService(j, p, r)
	}
	change, down, isBlamed := l.gate.leave(p, itemOf(j), r)
	switch {
	case change == wentDown && r.Outcome == Misconfigured:
		l.log.Error("the target refuses us: delivery is paused until that is mended, nothing is lost",
			"reason", r.Reason, "error", r.Err)
		l.paused(l.Name, true, r)
	case change == wentDown:
		l.log.Warn("the target is down: notifications wait in the queue", "reason", r.Reason, "error", r.Err)
		l.paused(l.Name, true, r)
	case change == cameBack:
		l.log.Info("the target is back", "down_for", down.Round(time.Millisecond))
		l.holdings.wake()
		l.paused(l.Name, false, r)
	}
	if r.answered() {
		l.recovery.works(forTarget, change == cameBack, l.now())
	}
	if isBlamed {
		return forTarget
	}
	return ""
}

func (l *lane) leaveService(j *job, p pass, r Result) (blamed string) {
	change, isBlamed, recovered := l.services.leave(j, p, r, l.now())
	if change == wentDown && r.Outcome == Misconfigured {
		l.log.Warn("a service refuses us: deliveries to it wait, nothing is lost",
			"service", j.service, "reason", r.Reason, "error", r.Err)
	}
	if r.answered() {
		l.recovery.works(forService(j), change == cameBack, l.now())
	}
	if recovered {
		l.recovery.works(forDestination(j), true, l.now())
	}
	if isBlamed {
		return forService(j)
	}
	return ""
}

// failed parks j for its next attempt, and with it what waited behind it. In a
// lane that coalesces the newer one takes its place. Where the target is down
// as a whole, what waited behind it waits on where it is. blamed is what j
// need not wait for any longer than that is down.
func (l *lane) failed(j *job, r Result, took time.Duration, blamed string) {
	l.tell(j, Attempt{Result: r, Took: took})
	p := queue.Parked{Due: l.now().Add(nextAttempt(j.record.Attempts, r.After)), Reason: r.Reason, WaitsFor: blamed}
	if j.service == "" && l.gate.isDown() {
		l.line.done(j, false)
		l.park([]*job{j}, p)
		return
	}
	behind := l.line.failed(j)
	if l.Coalesce > 0 && len(behind) > 0 {
		newer := behind[0]
		newer.record.Attempts = max(newer.record.Attempts, j.record.Attempts)
		l.coalesced(j)
		l.park(behind, p)
		return
	}
	l.park(append([]*job{j}, behind...), p)
}

// coalesced ends j: a newer one is delivered in its place.
func (l *lane) coalesced(j *job) {
	l.tell(j, Attempt{Coalesced: true})
	l.settle(j, true)
}

// coalescedLate does the same with what is parked.
func (l *lane) coalescedLate(group keeper, j *job) {
	l.tell(j, Attempt{Coalesced: true})
	if err := group.Settle(); err != nil {
		l.log.Debug("an acknowledgement was lost", "error", err)
	}
}

// bury makes a dead letter of j, which is in the line. What waits behind it goes
// on when the letter is stored: dead letters of a mailbox keep its order.
func (l *lane) bury(j *job, r Result, took time.Duration) {
	stored := l.storeDeadLetter(j, r, took)
	l.line.done(j, false)
	l.settle(j, stored)
}

// giveUp makes a dead letter of j, which is not in the line.
func (l *lane) giveUp(j *job, r Result, took time.Duration) {
	l.settle(j, l.storeDeadLetter(j, r, took))
}

// storeDeadLetter reports whether the queue took it. Where it did not, j stays
// unsettled: the queue gives it out again.
func (l *lane) storeDeadLetter(j *job, r Result, took time.Duration) bool {
	err := l.queue.Bury(context.Background(), l.Name, j.record, r.Reason) // which takes a few seconds at most
	if err != nil {
		l.log.Error("the queue cannot store a dead letter: the notification will be attempted again", "error", err)
		return false
	}
	l.tell(j, Attempt{Result: r, Took: took, Dead: true})
	l.log.Warn("gave up on a notification: it is a dead letter now", "id", j.record.ID, "reason", r.Reason, "error", r.Err)
	return true
}

func (l *lane) tell(j *job, a Attempt) {
	a.Target, a.ID, a.Attempts, a.TraceParent = l.Name, j.record.ID, j.record.Attempts, j.record.TraceParent
	a.Age = max(l.now().Sub(j.record.Accepted), 0)
	l.observe(a)
}

func (l *lane) expired(j *job) bool { return l.now().Sub(j.since()) > l.maxAge }
