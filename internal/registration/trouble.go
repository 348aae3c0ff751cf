// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"log/slog"
	"sync"
	"time"
)

// downAfter is how many attempts in a row go without an answer, or with one that
// would be the same for all users though others got another one, before going on
// with other users is of no use. Failures that concern one user do not count,
// however many there are.
const downAfter = 5

// trouble is what keeps all users from being registered, if anything does. It
// is told once when it begins, and once when it is over.
type trouble struct {
	log     *slog.Logger
	observe func(Event)

	mu     sync.Mutex
	reason Reason // empty if there is none
	err    error
	since  time.Time
	failed int  // in a row
	served bool // Dovecot has set or shown somebody's entry
}

// note counts the end of an attempt, and reports whether it is of no use to go
// on with other users.
func (t *trouble) note(err error) (halt bool) {
	c := classOf(err)
	if c.scope == ofStore {
		return true // Dovecot was not asked
	}
	halt, isNew := t.count(c, err)
	if isNew {
		t.tell(c.reason, err) // not while t.mu is held: whoever listens may ask what the trouble is
	}
	return halt
}

// count reports whether there is trouble, and whether it is another than
// before.
func (t *trouble) count(c class, err error) (halt, isNew bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case c.asked:
		t.failed = 0
		t.served = t.served || err == nil
		t.endLocked()
		return false, false
	case c.scope == ofUser:
		return false, false
	case c.scope == ofAll && (c.reason != ReasonNoMetadata || !t.served):
		// Nobody has an entry, or nobody is asked about.
	default:
		if t.failed++; t.failed < downAfter {
			return false, false
		}
	}
	isNew = t.reason != c.reason
	if t.reason == "" {
		t.since = time.Now()
	}
	t.reason, t.err = c.reason, err
	return true, isNew
}

// end notes that nothing keeps all users from being registered.
func (t *trouble) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked()
}

// endLocked does it while t.mu is held.
func (t *trouble) endLocked() {
	if t.reason != "" {
		t.log.Info("registration goes on", "after", time.Since(t.since).Round(time.Second))
		t.reason, t.err = "", nil
	}
}

func (t *trouble) tell(reason Reason, err error) {
	switch reason {
	case ReasonNoMetadata:
		t.log.Error("no user can be registered", "error", err)
	case ReasonCredentials:
		t.log.Error("registration pauses until Dovecot accepts what it is asked with", "error", err)
	default:
		t.log.Error("registration pauses until Dovecot can be asked again", "error", err)
	}
	t.observe(Event{State: Failed, Reason: reason, Err: err})
}

// now returns what the trouble is, and nothing if there is none.
func (t *trouble) now() (Reason, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reason, t.err
}
