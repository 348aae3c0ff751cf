// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import "time"

// downAfter is how many attempts in a row must fail before a target, or a
// service within it, counts as down. Fewer may be the fault of single
// notifications.
const downAfter = 3

// probes is how long what is down is left alone before the next single
// attempt. The last step repeats.
var probes = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}

// circuit notes how attempts end. It is closed while they work. While it is
// open, one attempt at a time passes, at growing distances. Whoever has it
// guards it.
type circuit struct {
	failures int       // in a row
	probes   int       // failed while down
	probing  bool      // an attempt passed the open circuit and has not ended
	reopen   time.Time // when the next one may
	down     bool
	since    time.Time // when it went down
}

// transition is what an attempt changed.
type transition uint8

const (
	unchanged transition = iota
	wentDown
	cameBack
)

// enter tells whether an attempt may be made, and whether it is the single one
// that is made while the circuit is open. If not, wait is how long the next
// one is off at least. Each enter that admits is followed by one leave or
// abandon.
func (c *circuit) enter(now time.Time) (probe bool, wait time.Duration) {
	if !c.down {
		return false, 0
	}
	if wait = c.wait(now); wait > 0 {
		return false, wait
	}
	c.probing = true
	return true, 0
}

// wait is how long the next attempt is off at least.
func (c *circuit) wait(now time.Time) time.Duration {
	switch {
	case !c.down:
		return 0
	case c.probing:
		return probes[c.probes] // the end of the attempt tells more
	default:
		// A clock that was set back makes nobody wait for longer.
		return min(max(c.reopen.Sub(now), 0), 2*probes[c.probes])
	}
}

// leave notes how an attempt ended. It returns what that changed, and for how
// long the circuit has been open.
func (c *circuit) leave(probe bool, o Outcome, now time.Time) (transition, time.Duration) {
	if probe {
		c.probing = false
	}
	if o == Delivered || o == Refused || o == Gone { // there was an answer
		c.failures, c.probes = 0, 0
		if !c.down {
			return unchanged, 0
		}
		c.down = false
		return cameBack, now.Sub(c.since)
	}
	switch {
	case probe && c.down: // no other attempt has closed it meanwhile
		c.probes = min(c.probes+1, len(probes)-1)
		c.reopen = now.Add(jitter(probes[c.probes]))
	case c.down: // it was under way when the circuit opened
	default:
		if c.failures++; c.failures < downAfter && o != Misconfigured {
			return unchanged, 0
		}
		c.down, c.since = true, now
		c.reopen = now.Add(jitter(probes[0]))
		return wentDown, 0
	}
	return unchanged, now.Sub(c.since)
}

// abandon ends an attempt that was never made.
func (c *circuit) abandon(probe bool) {
	if probe {
		c.probing = false
	}
}
