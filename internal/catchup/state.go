// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// Progress is how far a sweep is.
type Progress struct {
	Trigger Trigger   `json:"trigger"`
	Started time.Time `json:"started"`
	// Ended is zero while it runs.
	Ended time.Time `json:"ended,omitzero"`
	// Users is how many there are to look at, Done how many were, Behind how
	// many of them had mails that were not reported, and Failed how many could
	// not be looked at.
	Users  int `json:"users"`
	Done   int `json:"done"`
	Behind int `json:"behind"`
	Failed int `json:"failed"`
	// Waiting is how many of those behind are still to be served.
	Waiting int `json:"waiting"`
	// Found is how many notifications were accepted, LeftOut how many mails
	// were not reported and are not told, by reason.
	Found   int            `json:"found"`
	LeftOut map[Reason]int `json:"left_out,omitempty"`
	// Oldest is when the oldest of them was delivered.
	Oldest time.Time `json:"oldest,omitzero"`
	// Error is why it ended early.
	Error string `json:"error,omitempty"`
}

// Status is the state of the catch-up.
type Status struct {
	// Leads tells that this process sweeps, and no other one.
	Leads bool
	// Sweep is the sweep over all users that runs, or the last one; nil before
	// the first.
	Sweep *Progress
	// Ended is when the last one ended that could be ended.
	Ended time.Time
	// Err is why the last sweep could not be ended.
	Err error
}

// state is what others want to know.
type state struct {
	mu    sync.Mutex
	book  *book // nil without the lease
	sweep *Progress
	ended time.Time
	err   error
	// reason is that of err.
	reason registration.Reason
}

func (s *state) lead(b *book) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book = b
}

// note notes how far the sweep over all users is.
func (s *state) note(p Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep = &p
}

// end records the result of a sweep.
func (s *state) end(p Progress, all bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if all {
		s.sweep = &p
	}
	if all && err == nil {
		s.ended = p.Ended
	}
	s.err = err
	s.reason, _ = registration.ReasonOf(err)
}

// repeats reports whether the sweep before ended for the same reason.
func (s *state) repeats(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	reason, _ := registration.ReasonOf(err)
	return err != nil && reason == s.reason
}

// Status returns the state of the catch-up.
func (c *Catcher) Status() Status {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	return Status{Leads: c.state.book != nil, Sweep: c.state.sweep, Ended: c.state.ended, Err: c.state.err}
}

// UserStatus is the state of a user.
type UserStatus struct {
	// Reported and Found are when a notification of the user was accepted last
	// from Dovecot, and from a sweep; zero if none was.
	Reported, Found time.Time
	// Missing is how many UIDs of INBOX were not reported and not looked at yet.
	Missing uint64
}

// User looks at the mailbox of a user now, and returns its state. Errors: those
// of a Source, and [ErrElsewhere].
func (c *Catcher) User(ctx context.Context, n registration.Notified) (UserStatus, error) {
	c.state.mu.Lock()
	b := c.state.book
	c.state.mu.Unlock()
	if b == nil {
		return UserStatus{}, ErrElsewhere
	}
	box, err := c.cfg.Source.Mailbox(ctx, n.User)
	if err != nil {
		return UserStatus{}, err
	}
	_, mailbox := b.find(n.Names, box.UIDValidity)
	var s UserStatus
	b.with(mailbox, func(m *mark) *mark {
		if m != nil {
			s = UserStatus{Reported: timeOf(m.reported), Found: timeOf(m.found), Missing: m.missing(box.UIDNext).count()}
		}
		return nil
	})
	return s, nil
}

func timeOf(seconds uint32) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}
