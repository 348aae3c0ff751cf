// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// watchRetry is how long the store waits before it watches its table again.
const watchRetry = time.Second

// devices are the subscriptions of one user. The slice is never written to.
type devices struct {
	list     []Subscription
	revision uint64
}

// watch keeps users equal to the table until ctx ends.
func (s *Store) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.watchOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		s.log.Debug("cannot watch the table of the subscriptions", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(watchRetry):
		}
	}
}

// watchOnce reads the whole table and then every change, until that fails.
func (s *Store) watchOnce(ctx context.Context) error {
	all := make(map[string]devices) // until the whole table is read
	var newest uint64
	return s.table.Watch(ctx, nil, func(e queue.Entry) {
		user, list, err := decode(e)
		if err != nil {
			s.log.Error("cannot read the subscriptions of a user", "error", err)
			return
		}
		if all == nil {
			s.apply(user, list, e.Revision, e.Deleted)
			return
		}
		newest = max(newest, e.Revision)
		if !e.Deleted {
			all[user] = devices{list, e.Revision}
		}
	}, func() {
		s.replace(all, newest)
		all = nil
	})
}

// replace replaces users by all, which was read up to the revision newest.
// Entries that this store has written since are kept.
func (s *Store) replace(all map[string]devices, newest uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for user, d := range s.users {
		if d.revision > max(newest, all[user].revision) {
			all[user] = d
		}
	}
	s.users = all
	clear(s.holding)
	for user := range all {
		s.indexHeld(user)
	}
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// apply stores what the table has for a user, unless something newer is known.
func (s *Store) apply(user string, list []Subscription, revision uint64, deleted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision < s.users[user].revision {
		return
	}
	if deleted {
		delete(s.users, user)
	} else {
		s.users[user] = devices{list, revision}
	}
	s.indexHeld(user)
}

// decode reads an entry: its key is the user.
func decode(e queue.Entry) (user string, list []Subscription, err error) {
	if len(e.Key) != 1 {
		return "", nil, errors.New("its key is not a user")
	}
	if e.Deleted {
		return e.Key[0], nil, nil
	}
	err = json.Unmarshal(e.Value, &list)
	return e.Key[0], list, err
}
