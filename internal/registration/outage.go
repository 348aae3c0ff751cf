// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"log/slog"
	"sync"
	"time"
)

// downAfter is how many attempts in a row must get no answer, or an answer that
// would be the same for all users, before going on with other users is
// pointless. Failures of single users do not count, however many there are.
const downAfter = 5

// outage is what keeps all users from being registered, if anything does. It is
// reported when it begins and when it is over.
type outage struct {
	log     *slog.Logger
	observe func(Event)

	mu     sync.Mutex
	reason Reason // empty if there is none
	err    error
	since  time.Time
	failed int  // in a row
	served bool // Dovecot has set or returned some user's entry
}

// update counts the result of an attempt, and reports whether going on with
// other users is pointless.
func (o *outage) update(err error) (halt bool) {
	c := classOf(err)
	if c.scope == ofStore {
		return true // Dovecot was not asked
	}
	halt, isNew := o.count(c, err)
	if isNew {
		o.report(c.reason, err) // not while o.mu is held: the observer may ask for the status
	}
	return halt
}

// count reports whether there is an outage, and whether it is a new one.
func (o *outage) count(c class, err error) (halt, isNew bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case c.asked:
		o.failed = 0
		o.served = o.served || err == nil
		o.endLocked()
		return false, false
	case c.scope == ofUser:
		return false, false
	case c.scope == ofAll && (c.reason != ReasonNoMetadata || !o.served):
		// Dovecot rejects everybody, or has no METADATA at all.
	default:
		if o.failed++; o.failed < downAfter {
			return false, false
		}
	}
	isNew = o.reason != c.reason
	if o.reason == "" {
		o.since = time.Now()
	}
	o.reason, o.err = c.reason, err
	return true, isNew
}

// end ends the outage, if there is one.
func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.endLocked()
}

// endLocked is end while o.mu is held.
func (o *outage) endLocked() {
	if o.reason != "" {
		o.log.Info("registration resumes", "after", time.Since(o.since).Round(time.Second))
		o.reason, o.err = "", nil
	}
}

func (o *outage) report(reason Reason, err error) {
	switch reason {
	case ReasonNoMetadata:
		o.log.Error("no user can be registered", "error", err)
	case ReasonCredentials:
		o.log.Error("registration is paused until Dovecot accepts the credentials", "error", err)
	default:
		o.log.Error("registration is paused until Dovecot answers again", "error", err)
	}
	o.observe(Event{State: Failed, Reason: reason, Err: err})
}

// current returns the outage, or nothing if there is none.
func (o *outage) current() (Reason, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reason, o.err
}
