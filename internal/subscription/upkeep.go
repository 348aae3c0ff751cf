// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/jitter"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Delivered is the outcome of a delivery that succeeded. It extends the
// subscription.
const Delivered = "delivered"

const (
	// upkeepInterval is how often the store removes expired subscriptions and
	// writes last deliveries.
	upkeepInterval = time.Minute
	// writeUse is how old the last delivery in the table may get before a newer
	// one is written: each is a write to the disk, and devices get mail all
	// day.
	writeUse = 15 * time.Minute
	// stopTimeout bounds the last writes.
	stopTimeout = 5 * time.Second
)

// Used records the result of a message to a device. It is written later,
// together with others.
func (s *Store) Used(user, id string, d Delivery) {
	d.Time = d.Time.UTC().Truncate(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.used[user]
	if of == nil {
		of = make(map[string]Delivery)
		s.used[user] = of
	}
	of[id] = d
}

// upkeep removes expired subscriptions and writes last deliveries until ctx
// ends.
func (s *Store) upkeep(ctx context.Context) {
	for {
		// Instances that share a table do not do this at the same time.
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			s.writeUsed(last, 0)
			return
		case <-time.After(jitter.Spread(upkeepInterval, 0.5)):
			s.removeExpired(ctx)
			s.writeUsed(ctx, writeUse)
		}
	}
}

// removeExpired removes the subscriptions that have expired.
func (s *Store) removeExpired(ctx context.Context) {
	at := time.Now()
	var users []string
	s.mu.RLock()
	for user, d := range s.users {
		if len(active(d.list, at)) < len(d.list) {
			users = append(users, user)
		}
	}
	s.mu.RUnlock()
	for _, user := range users {
		s.changeInBackground(ctx, user, func(list []Subscription) ([]Subscription, error) { return list, nil })
	}
}

// writeUsed writes the last deliveries of users if those in the table are older
// than age.
func (s *Store) writeUsed(ctx context.Context, age time.Duration) {
	at := time.Now()
	used := make(map[string]map[string]Delivery)
	s.mu.Lock()
	for user, of := range s.used {
		list := active(s.users[user].list, at)
		if len(list) == 0 {
			delete(s.used, user)
		} else if stale(list, of, at.Add(-age)) {
			used[user] = maps.Clone(of)
		}
	}
	s.mu.Unlock()
	for user, of := range used {
		ok := s.changeInBackground(ctx, user, func(list []Subscription) ([]Subscription, error) { return withLast(list, of), nil })
		if ok {
			s.forgetUsed(user, of)
		}
	}
}

// stale reports whether a delivery should be written.
func stale(list []Subscription, used map[string]Delivery, before time.Time) bool {
	for i := range list {
		if _, ok := used[list[i].ID]; ok && (list[i].Last == nil || !list[i].Last.Time.After(before)) {
			return true
		}
	}
	return false
}

// forgetUsed forgets what was written and keeps what arrived in the meantime.
func (s *Store) forgetUsed(user string, written map[string]Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.used[user], func(id string, d Delivery) bool { return d == written[id] })
	if len(s.used[user]) == 0 {
		delete(s.used, user)
	}
}

// changeInBackground makes a change that nobody waits for.
func (s *Store) changeInBackground(ctx context.Context, user string, edit func([]Subscription) ([]Subscription, error)) bool {
	err := s.change(ctx, user, edit)
	if err != nil && ctx.Err() == nil && !errors.Is(err, queue.ErrUnavailable) {
		s.log.Error("cannot write the subscriptions of a user", "error", err)
	}
	return err == nil
}
