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
	// listFrom is how many users must be reconciled for a list of all users to
	// be worth a request.
	listFrom = 50
	// readers is how many groups are read at a time.
	readers = 2
	// readTimeout bounds the reading of a group. Dovecot creates the mailboxes
	// of users who never had one.
	readTimeout = time.Minute
)

// bulk reconciles many users with few requests.
type bulk struct {
	r        *Reconciler
	records  map[string]versioned
	takeover bool
	// result is called for every user, by one goroutine at a time.
	result func(user string, rec record, err error)

	mu   sync.Mutex // for result
	jobs chan job
	halt context.CancelCauseFunc
}

// versioned is a record and its revision.
type versioned struct {
	record
	revision uint64
}

type job struct {
	user string
	seen *observed
}

// unread is the revision of a record that was not read.
const unread = ^uint64(0)

// records reads all of them.
func (r *Reconciler) records(ctx context.Context) (map[string]versioned, error) {
	records := make(map[string]versioned)
	for entry, err := range r.cfg.Table.All(ctx, allUsers) {
		if err != nil {
			return nil, storeError(err)
		}
		records[entry.Key[1]] = versioned{r.parse(entry), entry.Revision}
	}
	return records, nil
}

// run reconciles users, which are sorted. listing is what Dovecot listed, or
// nil. It ends early, with the reason, if going on is pointless.
func (b *bulk) run(ctx context.Context, users, listing []string) error {
	ctx, b.halt = context.WithCancelCause(ctx)
	defer b.halt(nil)
	b.jobs = make(chan job)
	var workers, reading sync.WaitGroup
	for range b.r.cfg.Concurrency {
		workers.Go(func() {
			for j := range b.jobs {
				b.reconcile(ctx, j)
			}
		})
	}
	groups := make(chan group)
	listed, unlisted := split(users, listing)
	for range readers {
		reading.Go(func() {
			for g := range groups {
				b.readGroup(ctx, g, listed)
			}
		})
	}
	for g := range groupsOf(listing, "", groupSize) {
		if ctx.Err() != nil {
			break
		}
		groups <- g // readers take it soon, even when ctx has ended
	}
	close(groups)
	for _, user := range unlisted {
		if k := b.records[user]; k.State == UnknownUser && !k.wanted(b.r.cfg.Policy, time.Now()) {
			b.report(user, k.record, ErrUnknownUser)
			continue
		}
		b.give(ctx, job{user: user})
	}
	reading.Wait()
	close(b.jobs)
	workers.Wait()
	return context.Cause(ctx)
}

// each passes listed users to the workers, to be read one by one.
func (b *bulk) each(ctx context.Context, users []string) {
	for _, user := range users {
		b.give(ctx, job{user: user, seen: &observed{revision: unread, listed: true}})
	}
}

func (b *bulk) give(ctx context.Context, j job) {
	select {
	case b.jobs <- j:
	case <-ctx.Done():
	}
}

// readGroup reads the entries of a group, and passes users whose entry is not
// up to date to the workers. A single broken mailbox spoils the answer for the
// whole group. The group is then read in parts.
func (b *bulk) readGroup(ctx context.Context, g group, listed []string) {
	users := g.within(listed)
	if len(users) == 0 || ctx.Err() != nil {
		return
	}
	if g.mask == "" || len(users) < 2 || len(users)*maskWorthwhile < len(g.users) {
		b.each(ctx, users)
		return
	}
	reading, cancel := context.WithTimeout(ctx, readTimeout)
	values, err := b.r.cfg.Registrar.Values(reading, g.mask)
	cancel()
	switch {
	case ctx.Err() != nil:
		return
	case err == nil:
		b.r.outage.update(nil)
		b.compare(ctx, users, values)
	case errors.Is(err, ErrCannotList), len(users) <= maskWorthwhile:
		b.each(ctx, users)
	case !errors.Is(err, ErrMail) && b.r.outage.update(err):
		b.halt(err)
	default:
		for part := range g.smaller() {
			b.readGroup(ctx, part, listed)
		}
	}
}

// compare finds the users who are not up to date.
func (b *bulk) compare(ctx context.Context, users []string, values map[string]string) {
	now := time.Now()
	for _, user := range users {
		value, ok := values[user]
		if !ok { // gone since it was listed, or listed with another spelling
			b.give(ctx, job{user: user, seen: &observed{revision: unread, listed: true}})
			continue
		}
		k := b.records[user]
		if b.upToDate(user, &k, value, now) {
			b.report(user, k.record, stateError(k.record))
			continue
		}
		b.give(ctx, job{user: user, seen: &observed{value: value, revision: k.revision, listed: true}})
	}
}

// upToDate reports whether nothing needs to be done about a user, not even in
// the record.
func (b *bulk) upToDate(user string, k *versioned, value string, now time.Time) bool {
	if k.revision == 0 {
		k.State = Unregistered
	}
	switch {
	case !k.wanted(b.r.cfg.Policy, now):
		return k.State == Unregistered && !isOurs(value)
	case k.State == Conflict:
		return value != "" && !isOurs(value) && !b.takeover
	case k.State == Registered:
		want, err := b.r.cfg.Value.value(user)
		return err == nil && value == want
	}
	return false
}

func (b *bulk) reconcile(ctx context.Context, j job) {
	if ctx.Err() != nil {
		return
	}
	rec, err := b.r.reconcile(ctx, j.user, request{registrar: b.r.cfg.Registrar, observed: j.seen, takeover: b.takeover})
	if ctx.Err() != nil {
		return
	}
	if b.r.outage.update(err) {
		b.halt(err)
		return
	}
	b.r.scheduleNext(j.user, rec, err, 0)
	b.report(j.user, rec, err)
}

func (b *bulk) report(user string, rec record, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.result(user, rec, err)
}

// stateError returns the error of a user who is up to date.
func stateError(rec record) error {
	if rec.State == Conflict {
		return ErrConflict
	}
	return nil
}
