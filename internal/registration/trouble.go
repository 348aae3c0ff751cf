// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"log/slog"
	"sync"
	"time"
)

// downAfter is how many attempts in a row must fail in passing before it is
// taken for something that concerns all users.
const downAfter = 5

// trouble is what keeps all users from being registered, if anything does. It
// is told once when it begins, and once when it is over.
type trouble struct {
	log     *slog.Logger
	observe func(Event)

	mu        sync.Mutex
	reason    Reason // empty if there is none
	err       error
	since     time.Time
	temporary int // failures in a row
}

// note counts what came of an attempt, and reports whether it is of no use to
// go on with other users.
func (t *trouble) note(err error) (halt bool) {
	reason := Reason("")
	if err != nil {
		reason = reasonOf(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case reason.concernsAll():
		t.begin(reason, err)
		return true
	case reason == ReasonNeedsLogin, reason == ReasonNoValue:
		return false // Dovecot was not asked
	case reason == ReasonTemporary:
		if t.temporary++; t.temporary < downAfter {
			return false
		}
		t.begin(reason, err)
		return true
	}
	t.temporary = 0
	if t.reason != "" {
		t.log.Info("registration goes on", "after", time.Since(t.since).Round(time.Second))
		t.reason, t.err = "", nil
	}
	return false
}

// begin notes the trouble, and tells of it if it is another than before. t.mu
// is held.
func (t *trouble) begin(reason Reason, err error) {
	same := t.reason == reason
	if t.reason == "" {
		t.since = time.Now()
	}
	t.reason, t.err = reason, err
	if same {
		return
	}
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
