// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// downAfter is how many attempts in a row must fail before a target, or a
// service within it, counts as down. Fewer may be the fault of single
// notifications.
const downAfter = 3

// probes is how long what is down is left alone before the next single
// attempt. The last step repeats.
var probes = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}

// Items that are not ill may be attempted while the circuit is open: that many
// at once, and another one each interval. If several ill items opened it, this
// closes it before anybody notices; if everything is down, each item is
// attempted once. Those that are known to work go on for as long as there are
// any; of those that nothing is known of there may be very many.
const (
	trialBurst       = 8
	trialInterval    = 250 * time.Millisecond
	strangerInterval = 10 * time.Second
)

// circuit notes how attempts end. It is closed while they work. While it is
// open, one attempt at a time passes, at growing distances, and besides it a few
// at items that are not ill. Whoever has it guards it.
type circuit struct {
	// lonely tells that it opens also if one item alone fails in a row, and
	// nobody else is there to be served.
	lonely   bool
	failures int                    // in a row, see counts
	suspects []item                 // those that failed with nobody knowing why
	first    time.Time              // the first of the failures
	probes   int                    // failed while down
	probing  bool                   // an attempt passed the open circuit and has not ended
	reopen   time.Time              // when the next one may
	trials   [classes]*rate.Limiter // of those that are not ill
	heard    time.Time              // the last answer about an item; zero if there was none
	down     bool
	since    time.Time // when it went down
	last     outage    // that ended
}

// transition is what an attempt changed.
type transition uint8

const (
	unchanged transition = iota
	wentDown
	cameBack
)

// pass is why an attempt is made.
type pass uint8

const (
	passFree  pass = iota // the circuit is closed
	passProbe             // the single attempt through an open one
	passTrial             // an open one, at an item that is not ill
)

// enter tells whether an attempt may be made, and why. If not, wait is how long
// the next one is off at least. Each enter that admits is followed by one leave
// or abandon.
func (c *circuit) enter(now time.Time, of class) (p pass, wait time.Duration) {
	if wait = c.wait(now, of); wait > 0 {
		return passFree, wait
	}
	switch {
	case !c.down:
		return passFree, 0
	case c.trial(now, of) == 0:
		c.trials[of].AllowN(now, 1)
		return passTrial, 0
	default:
		c.probing = true
		return passProbe, 0
	}
}

// wait is how long the next attempt at an item is off at least.
func (c *circuit) wait(now time.Time, of class) time.Duration {
	// A clock that was set back makes nobody wait for longer.
	switch {
	case !c.down:
		return 0
	case c.probing:
		return min(c.trial(now, of), probes[c.probes]) // the end of the attempt tells more
	default:
		return min(c.trial(now, of), max(c.reopen.Sub(now), 0), 2*probes[c.probes])
	}
}

// trial is how long the next trial of an item is off.
func (c *circuit) trial(now time.Time, of class) time.Duration {
	l := c.trials[of]
	if l == nil {
		return math.MaxInt64
	}
	missing := min(max(1-l.TokensAt(now), 0), 1)
	return time.Duration(missing / float64(l.Limit()) * float64(time.Second))
}

// leave notes how an attempt at an item ended; wasIll tells that it failed the
// time before as well, while others worked. It returns what that changed, and
// for how long the circuit has been open.
func (c *circuit) leave(p pass, i item, wasIll bool, r Result, now time.Time) (transition, time.Duration) {
	if p == passProbe {
		c.probing = false
	}
	switch {
	case r.answered():
		return c.answered(now)
	case r.Fault == FaultOfOurs:
		if p == passProbe { // which did not take place
			c.reopen = now.Add(jitter(probes[0]))
		}
	case p == passProbe && c.down: // no other attempt has closed it meanwhile
		c.probes = min(c.probes+1, len(probes)-1)
		c.reopen = now.Add(jitter(probes[c.probes]))
	case c.down: // it was under way when the circuit opened, or is a trial
	case c.counts(i, wasIll, r):
		if c.failures++; c.failures == 1 {
			c.first = now
		}
		if c.failures < downAfter && (!c.heard.IsZero() || r.Outcome != Misconfigured) {
			return unchanged, 0
		}
		c.down, c.since = true, now
		c.trials[well] = rate.NewLimiter(rate.Every(trialInterval), trialBurst)
		c.trials[stranger] = rate.NewLimiter(rate.Every(strangerInterval), trialBurst)
		c.reopen = now.Add(jitter(probes[0]))
		return wentDown, 0
	}
	if !c.down {
		return unchanged, 0
	}
	return unchanged, now.Sub(c.since)
}

// answered notes that there was an answer about one item.
func (c *circuit) answered(now time.Time) (transition, time.Duration) {
	c.failures, c.suspects, c.probes, c.heard = 0, nil, 0, now
	if !c.down {
		return unchanged, 0
	}
	c.down, c.last = false, outage{c.first, now}
	return cameBack, now.Sub(c.since)
}

// counts tells whether a failure speaks against what the items share. Where
// nobody knows whose fault it is, one item counts once, and one that is ill
// does not.
func (c *circuit) counts(i item, wasIll bool, r Result) bool {
	switch {
	case r.Fault == FaultOfService:
		return true
	case wasIll:
		return false
	default:
		return c.suspect(i) || c.lonely
	}
}

// suspect notes an item that failed with nobody knowing why, and reports
// whether it is another one.
func (c *circuit) suspect(i item) bool {
	if slices.Contains(c.suspects, i) {
		return false
	}
	if len(c.suspects) < downAfter {
		c.suspects = append(c.suspects, i)
	}
	return true
}

// blamed tells whether an attempt at an item that ended so failed because of
// what the items share, as far as anybody can tell.
func (c *circuit) blamed(i item, wasIll bool, r Result) bool {
	switch {
	case r.answered():
		return false
	case r.Fault == FaultUnknown && c.down && !wasIll:
		c.suspect(i)
		return len(c.suspects) > 1
	default:
		return r.Fault == FaultOfService
	}
}

// forgettable tells whether nothing would be lost with it.
func (c *circuit) forgettable(now time.Time) bool {
	return c.failures == 0 && !c.down && !c.probing && now.Sub(c.last.to) > relapse
}

// abandon ends an attempt that was never made.
func (c *circuit) abandon(p pass) {
	if p == passProbe {
		c.probing = false
	}
}
