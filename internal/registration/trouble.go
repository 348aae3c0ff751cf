// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"errors"
	"log/slog"
	"sync"
	"time"
)

// What is taken for something that concerns all users.
const (
	// downAfter is how many attempts in a row go without an answer.
	downAfter = 5
	// brokenAfter is of how many users in a row Dovecot cannot open the mail.
	// It is many, since those whose mail is on one lost file system should not
	// keep the others waiting.
	brokenAfter = 500
)

// trouble is what keeps all users from being registered, if anything does. It
// is told once when it begins, and once when it is over.
type trouble struct {
	log     *slog.Logger
	observe func(Event)

	mu                 sync.Mutex
	reason             Reason // empty if there is none
	err                error
	since              time.Time
	unanswered, broken int // in a row
}

// note counts what came of an attempt, and reports whether it is of no use to
// go on with other users.
func (t *trouble) note(err error) (halt bool) {
	reason := Reason("")
	if err != nil {
		reason = reasonOf(err)
	}
	if reason == ReasonNeedsLogin || reason == ReasonNoValue {
		return false // Dovecot was not asked
	}
	halt, isNew := t.count(reason, err)
	if isNew {
		t.tell(reason, err) // not while t.mu is held: whoever listens may ask what the trouble is
	}
	return halt
}

// count reports whether there is trouble, and whether it is another than
// before.
func (t *trouble) count(reason Reason, err error) (halt, isNew bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case errors.Is(err, ErrMail):
		t.unanswered = 0
		t.broken++
		halt = t.broken >= brokenAfter
	case reason == ReasonTemporary:
		t.unanswered++
		halt = t.unanswered >= downAfter
	case reason.concernsAll():
		halt = true
	default:
		t.unanswered, t.broken = 0, 0
		if t.reason != "" {
			t.log.Info("registration goes on", "after", time.Since(t.since).Round(time.Second))
			t.reason, t.err = "", nil
		}
	}
	if !halt {
		return false, false
	}
	isNew = t.reason != reason
	if t.reason == "" {
		t.since = time.Now()
	}
	t.reason, t.err = reason, err
	return true, isNew
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
