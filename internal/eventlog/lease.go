// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// leaseTable has an entry for each lease: its key is the user, its value the Unix
// time in milliseconds until which events for the user are stored.
const leaseTable = "streams"

// Users returns the users who have streams at any Caddy that shares the queue's
// store, or had one within the time of the history. No [Log] needs to be open.
func Users(ctx context.Context, q *queue.Queue) ([]string, error) {
	now := time.Now().UnixMilli()
	var users []string
	for entry, err := range q.Table(leaseTable).All(ctx, nil) {
		if err != nil {
			return nil, err
		}
		until, err := strconv.ParseInt(string(entry.Value), 10, 64)
		if len(entry.Key) == 1 && err == nil && until > now {
			users = append(users, entry.Key[0])
		}
	}
	return users, nil
}

func (l *Log) followLeases(ctx context.Context) error {
	return l.leases.Watch(ctx, nil, l.seeLease, l.leasesRead.happen)
}

// seeLease takes note of a lease, ours or that of another Caddy.
func (l *Log) seeLease(entry queue.Entry) {
	millis, err := strconv.ParseInt(string(entry.Value), 10, 64)
	if len(entry.Key) != 1 || err != nil && !entry.Deleted {
		return // not one of ours
	}
	user := entry.Key[0]
	l.mu.Lock()
	t := l.topic(user)
	before := l.holds(user)
	if entry.Deleted {
		t.revision = 0
	} else {
		t.revision = entry.Revision
		l.extend(t, time.UnixMilli(millis))
	}
	var missed []offer
	if !before && l.holds(user) {
		missed = l.recent.of(user)
	}
	l.mu.Unlock()
	if len(missed) == 0 {
		return
	}
	l.wg.Go(func() {
		for _, o := range missed {
			if err := l.append(l.ctx, o); err != nil && l.ctx.Err() == nil {
				l.cfg.Logger.Warn("an event for a new stream could not be stored", "error", err)
			}
		}
	})
}

// Wants reports whether events for user are stored.
func (l *Log) Wants(user string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holds(user)
}

// holds reports the same. l.mu is held.
func (l *Log) holds(user string) bool {
	t := l.topics[user]
	return t != nil && time.Now().Before(t.lease)
}

// extend makes the lease last until the given time. l.mu is held.
func (l *Log) extend(t *topic, until time.Time) {
	if t.lease.IsZero() {
		l.leased++
	}
	if until.After(t.lease) {
		t.lease = until
	}
}

// takeLease makes sure that events for user are stored for long enough from
// now on, here at once and elsewhere soon.
func (l *Log) takeLease(ctx context.Context, user string) error {
	l.mu.Lock()
	t := l.topic(user)
	known := t.revision != 0 && time.Until(t.lease) > l.timing.renew
	until := time.Now().Add(l.timing.lease)
	if !known {
		l.extend(t, until)
		l.unreported[user] = struct{}{}
	}
	l.mu.Unlock()
	if known {
		return nil
	}
	_, err := l.leases.Put(ctx, queue.Key{user}, strconv.AppendInt(nil, until.UnixMilli(), 10))
	if err != nil {
		return err
	}
	select {
	case l.wake <- struct{}{}: // there is a user to report
	default:
	}
	return nil
}

// maintain renews the leases of users with streams, ends those of others, and
// drops what is too old.
func (l *Log) maintain() {
	tick := time.NewTicker(l.timing.tick)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.wake:
			l.reportAll()
			continue
		case <-tick.C:
		}
		if l.wait(l.ctx, l.leasesRead) != nil {
			return
		}
		renew, end := l.plan(time.Now())
		for _, user := range renew {
			if err := l.takeLease(l.ctx, user); err != nil && l.ctx.Err() == nil {
				l.cfg.Logger.Warn("the lease of a stream could not be renewed; it will be tried again", "error", err)
				break
			}
		}
		for user, revision := range end {
			if l.ctx.Err() == nil {
				l.endLease(user, revision)
			}
		}
		l.reportAll()
	}
}

// plan returns the leases to renew and to end, and forgets users with neither
// events nor lease.
func (l *Log) plan(now time.Time) (renew []string, end map[string]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evict(now)
	end = make(map[string]uint64)
	for user, t := range l.topics {
		switch {
		case t.opening > 0:
		case len(t.streams) > 0:
			if t.revision == 0 || t.lease.Sub(now) < l.timing.renew {
				renew = append(renew, user)
			}
		case now.Before(t.lease):
		case t.revision != 0:
			end[user] = t.revision
		default:
			if !t.lease.IsZero() {
				t.lease = time.Time{}
				l.leased--
			}
			if len(t.events) == 0 {
				delete(l.topics, user)
			}
		}
	}
	return renew, end
}

// endLease reports that the user has no streams any more, then deletes the
// lease from the table. If a stream was opened in the meantime, anywhere, the
// lease has changed, and stays.
func (l *Log) endLease(user string, revision uint64) {
	if err := l.reportUser(user, false); err != nil {
		return // it is reported again later
	}
	err := l.leases.Delete(l.ctx, queue.Key{user}, revision)
	if errors.Is(err, queue.ErrChanged) {
		l.mu.Lock()
		l.unreported[user] = struct{}{}
		l.mu.Unlock()
	}
}

// reportAll reports the users with new streams.
func (l *Log) reportAll() {
	l.mu.Lock()
	users := make([]string, 0, len(l.unreported))
	for user := range l.unreported {
		users = append(users, user)
	}
	l.mu.Unlock()
	for _, user := range users {
		if l.reportUser(user, true) == nil {
			l.mu.Lock()
			delete(l.unreported, user)
			l.mu.Unlock()
		}
	}
}

func (l *Log) reportUser(user string, streaming bool) error {
	l.mu.Lock()
	report := l.report
	l.mu.Unlock()
	if report == nil {
		return nil
	}
	err := report(l.ctx, user, streaming)
	if err != nil && l.ctx.Err() == nil {
		l.cfg.Logger.Warn("the registration of a user with streams could not be updated; it will be tried again", "error", err)
	}
	return err
}
