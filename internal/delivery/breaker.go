// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// downAfter is how many consecutive attempts must fail before a target, or a
// service within it, counts as down. Fewer may be the fault of single
// notifications.
const downAfter = 3

// probes are the waits between probes while the breaker is open. The last step
// repeats.
var probes = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}

// Items that are not failing may be tried while the breaker is open: a burst of
// them, then one each interval. If several failing items opened it, this closes
// it quickly. If everything is down, each item is tried once. Items that are
// known to work are tried at the shorter interval. There may be very many
// unproven ones.
const (
	trialBurst       = 8
	trialInterval    = 250 * time.Millisecond
	unprovenInterval = 10 * time.Second
)

// breaker is a circuit breaker. It is closed while attempts succeed. While it
// is open, it allows single probes at growing intervals, and a few trials of
// items that are not failing. It is not safe for concurrent use.
type breaker struct {
	// single means that it also opens if one item alone fails repeatedly.
	single     bool
	failures   int                    // consecutive, see counts
	suspects   []item                 // items that failed for an unknown reason
	first      time.Time              // the first of the failures
	probes     int                    // consecutive failed probes
	probing    bool                   // a probe is in progress
	reopen     time.Time              // when the next probe is allowed
	until      time.Time              // no attempt before that, because the service asked for it
	trials     [classes]*rate.Limiter // of items that are not failing
	lastAnswer time.Time              // the last answer about an item, or zero
	down       bool
	downSince  time.Time // when it went down
	last       outage    // that ended
}

// transition is what an attempt changed.
type transition uint8

const (
	unchanged transition = iota
	wentDown
	cameBack
)

// pass is why an attempt is allowed.
type pass uint8

const (
	passFree  pass = iota // the breaker is closed
	passProbe             // the single probe while it is open
	passTrial             // open, but the item is not failing
)

// allow reports whether an attempt may be made, and why. If not, wait is the
// minimum time until the next one. Each attempt that is allowed must be
// followed by one done or cancel.
func (b *breaker) allow(now time.Time, of class) (p pass, wait time.Duration) {
	if wait = b.wait(now, of); wait > 0 {
		return passFree, wait
	}
	switch {
	case !b.down:
		return passFree, 0
	case b.trial(now, of) == 0:
		b.trials[of].AllowN(now, 1)
		return passTrial, 0
	default:
		b.probing = true
		return passProbe, 0
	}
}

// maxPause is how long a service may ask to be left alone.
const maxPause = 30 * time.Minute

// pause records that the service asked to be left alone, and reports whether it
// did.
func (b *breaker) pause(r Result, now time.Time) bool {
	if !r.Pause || r.Fault != FaultOfService || r.After <= 0 {
		return false
	}
	if until := now.Add(min(r.After, maxPause)); until.After(b.until) {
		b.until = until
	}
	return true
}

// wait returns the minimum time until the next attempt at an item.
func (b *breaker) wait(now time.Time, of class) time.Duration {
	// A clock that was set back must not make anybody wait longer.
	switch left := min(b.until.Sub(now), maxPause); {
	case left > 0:
		return left
	case !b.down:
		return 0
	case b.probing:
		return min(b.trial(now, of), probes[b.probes]) // until the probe ends
	default:
		return min(b.trial(now, of), max(b.reopen.Sub(now), 0), 2*probes[b.probes])
	}
}

// trial returns the time until the next trial of an item.
func (b *breaker) trial(now time.Time, of class) time.Duration {
	l := b.trials[of]
	if l == nil {
		return math.MaxInt64
	}
	missing := min(max(1-l.TokensAt(now), 0), 1)
	return time.Duration(missing / float64(l.Limit()) * float64(time.Second))
}

// record records the result of an attempt at an item, here and in the health of
// the items.
func (b *breaker) record(h *health, i item, p pass, r Result, now time.Time) (e effect) {
	was := h.of(i)
	wasFailing := was.class(b.last, now) == failing && (!b.single || b.lastAnswer.After(was.failed))
	e.change, e.lasted = b.done(p, i, wasFailing, r, now), now.Sub(b.downSince)
	h.note(i, r, now)
	e.blamed = b.blamed(i, wasFailing, r)
	e.recovered = was.failures >= downAfter && r.Outcome == Delivered
	return e
}

// done is record without the health of the item. wasFailing means that its last
// attempt failed too, while others succeeded.
func (b *breaker) done(p pass, i item, wasFailing bool, r Result, now time.Time) transition {
	if p == passProbe {
		b.probing = false
	}
	paused := b.pause(r, now)
	switch {
	case r.answered():
		return b.answered(now)
	case r.Fault == FaultOfOurs:
		if p == passProbe { // which did not take place
			b.reopen = now.Add(spread(probes[0]))
		}
	case p == passProbe && b.down: // no other attempt has closed it meanwhile
		b.probes = min(b.probes+1, len(probes)-1)
		b.reopen = now.Add(spread(probes[b.probes]))
	case b.down: // it was in progress when the breaker opened, or is a trial
	case b.counts(i, wasFailing, r):
		if b.failures++; b.failures == 1 {
			b.first = now
		}
		if b.failures < downAfter && !paused && (!b.lastAnswer.IsZero() || r.Outcome != Misconfigured) {
			return unchanged
		}
		b.down, b.downSince = true, now
		b.trials[healthy] = rate.NewLimiter(rate.Every(trialInterval), trialBurst)
		b.trials[unproven] = rate.NewLimiter(rate.Every(unprovenInterval), trialBurst)
		b.reopen = now.Add(spread(probes[0]))
		return wentDown
	}
	return unchanged
}

// answered records an answer about one item.
func (b *breaker) answered(now time.Time) transition {
	b.failures, b.suspects, b.probes, b.lastAnswer = 0, nil, 0, now
	if !b.down {
		return unchanged
	}
	b.down, b.last = false, outage{b.first, now}
	return cameBack
}

// counts reports whether a failure counts against what the items share. If the
// cause is unknown, each item counts once, and failing items do not count.
func (b *breaker) counts(i item, wasFailing bool, r Result) bool {
	switch {
	case r.Fault == FaultOfService:
		return true
	case wasFailing:
		return false
	default:
		return b.suspect(i) || b.single
	}
}

// suspect records an item that failed for an unknown reason, and reports
// whether it is a new one.
func (b *breaker) suspect(i item) bool {
	if slices.Contains(b.suspects, i) {
		return false
	}
	if len(b.suspects) < downAfter {
		b.suspects = append(b.suspects, i)
	}
	return true
}

// blamed reports whether an attempt with this result most likely failed because
// of what the items share.
func (b *breaker) blamed(i item, wasFailing bool, r Result) bool {
	switch {
	case r.answered():
		return false
	case r.Fault == FaultUnknown && b.down && !wasFailing:
		b.suspect(i)
		return len(b.suspects) > 1
	default:
		return r.Fault == FaultOfService
	}
}

// forgettable reports whether nothing would be lost with it.
func (b *breaker) forgettable(now time.Time) bool {
	return b.failures == 0 && !b.down && !b.probing && now.Sub(b.last.to) > relapse && !now.Before(b.until)
}

// cancel ends an attempt that was never made.
func (b *breaker) cancel(p pass) {
	if p == passProbe {
		b.probing = false
	}
}
