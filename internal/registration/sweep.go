// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// listFrom is how many users must be looked at for a list of all users to
	// be worth a request.
	listFrom = 50
	// readers is how many groups are read at a time.
	readers = 2
	// readTimeout bounds the reading of a group. Dovecot makes the mailboxes of
	// users who never had one.
	readTimeout = time.Minute
)

// sweep is one look at many users.
type sweep struct {
	r        *Reconciler
	records  map[string]known
	takeover bool
	// report is told of every user, by one goroutine at a time.
	report func(user string, rec record, err error)

	mu   sync.Mutex // for report
	jobs chan job
	halt context.CancelCauseFunc
}

// known is a record and its revision.
type known struct {
	record
	revision uint64
}

type job struct {
	user string
	seen *glimpse
}

// unread is the revision of a record that was not read.
const unread = ^uint64(0)

// records reads all of them.
func (r *Reconciler) records(ctx context.Context) (map[string]known, error) {
	records := make(map[string]known)
	for entry, err := range r.cfg.Table.All(ctx, allUsers) {
		if err != nil {
			return nil, storeError(err)
		}
		records[entry.Key[1]] = known{r.parse(entry), entry.Revision}
	}
	return records, nil
}

// run looks at the users, which are sorted. listing is what Dovecot listed, nil
// if it was not asked or cannot tell. It ends early if going on is of no use,
// with the reason.
func (s *sweep) run(ctx context.Context, users, listing []string) error {
	ctx, s.halt = context.WithCancelCause(ctx)
	defer s.halt(nil)
	s.jobs = make(chan job)
	var workers, reading sync.WaitGroup
	for range s.r.cfg.Concurrency {
		workers.Go(func() {
			for j := range s.jobs {
				s.settle(ctx, j)
			}
		})
	}
	groups := make(chan group)
	listed, unlisted := split(users, listing)
	for range readers {
		reading.Go(func() {
			for g := range groups {
				s.read(ctx, g, listed)
			}
		})
	}
	for g := range groupsOf(listing, "", groupSize) {
		if ctx.Err() != nil {
			break
		}
		groups <- g // readers take it soon, also when ctx has ended
	}
	close(groups)
	for _, user := range unlisted {
		if k := s.records[user]; k.State == UnknownUser && !k.wanted(s.r.cfg.Policy, time.Now()) {
			s.done(user, k.record, ErrUnknownUser)
			continue
		}
		s.give(ctx, job{user: user})
	}
	reading.Wait()
	close(s.jobs)
	workers.Wait()
	return context.Cause(ctx)
}

// each gives listed users to the workers, to be read one by one.
func (s *sweep) each(ctx context.Context, users []string) {
	for _, user := range users {
		s.give(ctx, job{user: user, seen: &glimpse{revision: unread, listed: true}})
	}
}

func (s *sweep) give(ctx context.Context, j job) {
	select {
	case s.jobs <- j:
	case <-ctx.Done():
	}
}

// read reads the entries of a group, and gives those users to the workers
// whose entry is not as it should be. A single user whose mailbox is broken
// spoils the answer for the whole group, so that it is tried in parts then.
func (s *sweep) read(ctx context.Context, g group, listed []string) {
	users := g.within(listed)
	if len(users) == 0 || ctx.Err() != nil {
		return
	}
	if g.mask == "" || len(users) < 2 || len(users)*maskPays < len(g.users) {
		s.each(ctx, users)
		return
	}
	reading, cancel := context.WithTimeout(ctx, readTimeout)
	values, err := s.r.cfg.Registrar.Values(reading, g.mask)
	cancel()
	switch {
	case ctx.Err() != nil:
		return
	case err == nil:
		s.r.trouble.note(nil)
		s.compare(ctx, users, values)
	case errors.Is(err, ErrCannotList), len(users) <= maskPays:
		s.each(ctx, users)
	case !errors.Is(err, ErrMail) && s.r.trouble.note(err):
		s.halt(err)
	default:
		for part := range g.smaller() {
			s.read(ctx, part, listed)
		}
	}
}

// compare finds the users that are not as they should be.
func (s *sweep) compare(ctx context.Context, users []string, values map[string]string) {
	now := time.Now()
	for _, user := range users {
		value, ok := values[user]
		if !ok { // gone since it was listed, or listed in another spelling
			s.give(ctx, job{user: user, seen: &glimpse{revision: unread, listed: true}})
			continue
		}
		k := s.records[user]
		if s.asItShouldBe(user, &k, value, now) {
			s.done(user, k.record, stateError(k.record))
			continue
		}
		s.give(ctx, job{user: user, seen: &glimpse{value: value, revision: k.revision, listed: true}})
	}
}

// asItShouldBe tells whether there is nothing to do about a user, not even in
// the record.
func (s *sweep) asItShouldBe(user string, k *known, value string, now time.Time) bool {
	if k.revision == 0 {
		k.State = Unregistered
	}
	switch {
	case !k.wanted(s.r.cfg.Policy, now):
		return k.State == Unregistered && !isOurs(value)
	case k.State == Conflict:
		return value != "" && !isOurs(value) && !s.takeover
	case k.State == Registered:
		want, err := s.r.cfg.Value.value(user)
		return err == nil && value == want
	}
	return false
}

func (s *sweep) settle(ctx context.Context, j job) {
	if ctx.Err() != nil {
		return
	}
	rec, err := s.r.settle(ctx, j.user, look{registrar: s.r.cfg.Registrar, seen: j.seen, takeover: s.takeover})
	if ctx.Err() != nil {
		return
	}
	if s.r.trouble.note(err) {
		s.halt(err)
		return
	}
	s.r.follow(j.user, rec, err, 0)
	s.done(j.user, rec, err)
}

func (s *sweep) done(user string, rec record, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report(user, rec, err)
}

// stateError is what a look at a user ends with that changes nothing.
func stateError(rec record) error {
	if rec.State == Conflict {
		return ErrConflict
	}
	return nil
}
