// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// ErrNotReady means that the subscriptions have not been read so far.
var ErrNotReady = errors.New("the subscriptions are still being read")

// retry is how long the store waits before it follows its table again.
const retry = time.Second

// Table is what a store needs of a [queue.Table].
type Table interface {
	Get(ctx context.Context, key queue.Key) (queue.Entry, error)
	Create(ctx context.Context, key queue.Key, value []byte) (revision uint64, err error)
	Update(ctx context.Context, key queue.Key, value []byte, revision uint64) (next uint64, err error)
	Delete(ctx context.Context, key queue.Key, revision uint64) error
	Watch(ctx context.Context, prefix queue.Key, seen func(queue.Entry), current func()) error
}

// Config of a store.
type Config struct {
	// Table holds one entry a user: their subscriptions as a JSON array. That
	// makes a change of one user's devices atomic, limit included.
	Table Table
	// Logger gets what an operator should know. Required.
	Logger *slog.Logger
	// Changed, if set, is told that a user got their first confirmed device
	// (anyDevice is true) or lost the last one, by a change of this store. It
	// must return soon.
	Changed func(user string, anyDevice bool)
}

// Store keeps the subscriptions. It is safe for concurrent use.
type Store struct {
	table   Table
	log     *slog.Logger
	changed func(user string, anyDevice bool)

	stop context.CancelFunc
	wg   sync.WaitGroup

	// changing makes the changes of one user take turns.
	changing [64]sync.Mutex
	seed     maphash.Seed

	mu    sync.RWMutex
	users map[string]devices
	ready chan struct{} // closed once users holds what the table does
	// used holds the last deliveries by user and ID, until they are written.
	used map[string]map[string]Delivery
}

// devices are those of one user. The slice is never written to.
type devices struct {
	list     []Subscription
	revision uint64
}

// New returns a store that has not been started.
func New(cfg Config) *Store {
	s := &Store{
		table: cfg.Table, log: cfg.Logger, changed: cfg.Changed,
		users: make(map[string]devices),
		used:  make(map[string]map[string]Delivery),
		ready: make(chan struct{}),
		seed:  maphash.MakeSeed(),
	}
	if s.changed == nil {
		s.changed = func(string, bool) {}
	}
	return s
}

// Start begins to read the table and to look after it. It does not wait.
func (s *Store) Start() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.wg.Go(func() { s.follow(ctx) })
	s.wg.Go(func() { s.keep(ctx) })
}

// Stop writes what is not written yet, within a few seconds. It may be called
// more than once.
func (s *Store) Stop() {
	if s.stop == nil {
		return
	}
	s.stop()
	s.wg.Wait()
}

// Wait waits until the subscriptions have been read. Errors: [ErrNotReady].
func (s *Store) Wait(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNotReady, context.Cause(ctx))
	}
}

// Of returns the devices of a user that have not ended, the oldest first, with
// those that are not confirmed. It answers from memory; the caller must not
// change the slice. Errors: [ErrNotReady].
func (s *Store) Of(user string) ([]Subscription, error) {
	select {
	case <-s.ready:
	default:
		return nil, ErrNotReady
	}
	s.mu.RLock()
	list := s.users[user].list
	s.mu.RUnlock()
	return alive(list, time.Now()), nil
}

// Find returns one device of a user. Errors: [ErrNotFound], [ErrNotReady].
func (s *Store) Find(user, id string) (Subscription, error) {
	list, err := s.Of(user)
	if err != nil {
		return Subscription{}, err
	}
	i := indexOf(list, id)
	if i < 0 {
		return Subscription{}, ErrNotFound
	}
	return list[i], nil
}

// List is [Store.Of] with the last deliveries that are not written yet.
func (s *Store) List(user string) ([]Subscription, error) {
	list, err := s.Of(user)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return withLast(list, s.used[user]), nil
}

// Count is how many devices all users have, and how many of them are
// confirmed.
func (s *Store) Count() (all, confirmed int) {
	now := time.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.users {
		for i := range d.list {
			if d.list[i].ended(now) {
				continue
			}
			all++
			if d.list[i].Confirmed() {
				confirmed++
			}
		}
	}
	return all, confirmed
}

// ServerKeys counts the devices by the VAPID key that they were made with.
func (s *Store) ServerKeys() (map[string]int, error) {
	select {
	case <-s.ready:
	default:
		return nil, ErrNotReady
	}
	now := time.Now()
	count := make(map[string]int)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.users {
		for i := range d.list {
			if !d.list[i].ended(now) {
				count[d.list[i].ServerKey]++
			}
		}
	}
	return count, nil
}

// follow keeps users as the table is.
func (s *Store) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		s.log.Debug("cannot follow the table of the subscriptions", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
}

// watch reads the whole table and then every change to it.
func (s *Store) watch(ctx context.Context) error {
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

// replace puts all in place of what is known, up to the revision newest: this
// store may have written since.
func (s *Store) replace(all map[string]devices, newest uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for user, d := range s.users {
		if d.revision > max(newest, all[user].revision) {
			all[user] = d
		}
	}
	s.users = all
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// apply notes what the table has for a user, unless something newer is known.
func (s *Store) apply(user string, list []Subscription, revision uint64, deleted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision < s.users[user].revision {
		return
	}
	if deleted {
		delete(s.users, user)
		return
	}
	s.users[user] = devices{list, revision}
}

// decode reads an entry: its key is the user.
func decode(e queue.Entry) (user string, list []Subscription, err error) {
	if len(e.Key) != 1 {
		return "", nil, errors.New("its key is no user")
	}
	if e.Deleted {
		return e.Key[0], nil, nil
	}
	err = json.Unmarshal(e.Value, &list)
	return e.Key[0], list, err
}

// ended tells whether the time of s is over.
func (s *Subscription) ended(now time.Time) bool { return !now.Before(s.Expires) }

// alive returns those that have not ended. It copies only if it must.
func alive(list []Subscription, now time.Time) []Subscription {
	for i := range list {
		if !list[i].ended(now) {
			continue
		}
		left := make([]Subscription, i, len(list))
		copy(left, list)
		for _, s := range list[i+1:] {
			if !s.ended(now) {
				left = append(left, s)
			}
		}
		return left
	}
	return list
}

func indexOf(list []Subscription, id string) int {
	for i := range list {
		if list[i].ID == id {
			return i
		}
	}
	return -1
}

// withLast is list with newer last deliveries.
func withLast(list []Subscription, used map[string]Delivery) []Subscription {
	updated := append([]Subscription(nil), list...)
	for i := range updated {
		if d, ok := used[updated[i].ID]; ok {
			updated[i].use(d)
		}
	}
	return updated
}

// use notes a delivery; one that succeeded makes the device live longer.
func (s *Subscription) use(d Delivery) {
	if s.Last == nil || d.Time.After(s.Last.Time) {
		s.Last = &d
	}
	if d.Outcome == Delivered {
		s.live(d.Time, Life)
	}
}

// live makes s end after life from now, or when its push service ends it.
func (s *Subscription) live(now time.Time, life time.Duration) {
	s.Expires = now.Add(life).UTC().Truncate(time.Second)
	if !s.Ends.IsZero() && s.Ends.Before(s.Expires) {
		s.Expires = s.Ends
	}
}
