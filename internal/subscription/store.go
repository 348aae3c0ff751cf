// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// ErrNotReady means that the subscriptions have not been read yet.
var ErrNotReady = errors.New("the subscriptions are still being read")

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
	// Kinds are the kinds of devices that something is delivered to. A user who
	// has only others wants nothing. Default: [WebPush].
	Kinds []Kind
	// Defaults are the preferences of new devices.
	Defaults Preferences
	// Changed, if set, is called when a change made through this store gives a
	// user their first confirmed device (anyDevice is true) or removes the last
	// one. It must return quickly.
	Changed func(user string, anyDevice bool)
}

// Store keeps the subscriptions. It is safe for concurrent use.
type Store struct {
	table   Table
	log     *slog.Logger
	changed func(user string, anyDevice bool)
	kinds   []Kind
	// defaults are the preferences of new devices.
	defaults Preferences

	stop context.CancelFunc
	wg   sync.WaitGroup

	// changing serializes the changes of each user.
	changing [64]sync.Mutex
	seed     maphash.Seed

	mu    sync.RWMutex
	users map[string]devices
	ready chan struct{} // closed once users holds what the table does
	// used holds the last deliveries by user and ID, until they are written.
	used map[string]map[string]Delivery
	// holding are the users for whose devices something is held, and gathered is
	// what is not written yet, by user.
	holding   map[string]struct{}
	gathered  map[string]*gathered
	holdEnded bool          // nothing is written any more
	hold      chan struct{} // there is something to write
}

// New returns a store that has not been started.
func New(cfg Config) *Store {
	s := &Store{
		table: cfg.Table, log: cfg.Logger, changed: cfg.Changed, kinds: cfg.Kinds, defaults: cfg.Defaults,
		users: make(map[string]devices),
		used:  make(map[string]map[string]Delivery),

		holding: make(map[string]struct{}), gathered: make(map[string]*gathered), hold: make(chan struct{}, 1),

		ready: make(chan struct{}),
		seed:  maphash.MakeSeed(),
	}
	if s.changed == nil {
		s.changed = func(string, bool) {}
	}
	if len(s.kinds) == 0 {
		s.kinds = []Kind{WebPush}
	}
	return s
}

// Defaults are the preferences of new devices. The caller must not change them.
func (s *Store) Defaults() Preferences { return s.defaults }

// Start starts reading and maintaining the table. It does not wait.
func (s *Store) Start() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.wg.Go(func() { s.watch(ctx) })
	s.wg.Go(func() { s.upkeep(ctx) })
	s.wg.Go(func() { s.holdLoop(ctx) })
}

// Stop writes what is still unwritten, within a few seconds. It may be called
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

// Of returns the unexpired devices of a user, oldest first, including
// unconfirmed ones. It answers from memory. The caller must not change the
// slice. Errors: [ErrNotReady].
func (s *Store) Of(user string) ([]Subscription, error) {
	select {
	case <-s.ready:
	default:
		return nil, ErrNotReady
	}
	s.mu.RLock()
	list := s.users[user].list
	s.mu.RUnlock()
	return active(list, time.Now()), nil
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

// List is [Store.Of] including last deliveries that are not written yet.
func (s *Store) List(user string) ([]Subscription, error) {
	list, err := s.Of(user)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return withLast(list, s.used[user]), nil
}

// Count returns how many devices all users have, and how many of them are
// confirmed.
func (s *Store) Count() (all, confirmed int) {
	now := time.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.users {
		for i := range d.list {
			if d.list[i].expired(now) {
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

// CountKinds returns how many confirmed devices there are of each kind, by its
// name.
func (s *Store) CountKinds() map[string]int {
	now, kinds := time.Now(), make(map[string]int)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.users {
		for i := range d.list {
			if !d.list[i].expired(now) && d.list[i].Confirmed() {
				kinds[d.list[i].Kind.Name()]++
			}
		}
	}
	return kinds
}

// Users returns the users who have wanted devices, the same ones that Changed
// reports. It waits until the subscriptions have been read. Errors:
// [ErrNotReady].
func (s *Store) Users(ctx context.Context) ([]string, error) {
	if err := s.Wait(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var users []string
	for user, d := range s.users {
		if s.anyWanted(active(d.list, now)) {
			users = append(users, user)
		}
	}
	return users, nil
}

// ServerKeys counts the devices by the key of this server they were made with,
// where their kind has one.
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
			if !d.list[i].expired(now) && d.list[i].ServerKey != "" {
				count[d.list[i].ServerKey]++
			}
		}
	}
	return count, nil
}
