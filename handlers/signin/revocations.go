// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// readTimeout is how long a request waits until the table has been read, or
	// until another change has finished.
	readTimeout = 5 * time.Second
	// watchRetry is the wait before the table is read again after a failure.
	watchRetry = time.Second
	// forgetInterval is how often expired entries are removed.
	forgetInterval = time.Hour
	// maxRevocations bounds how many ended sessions of a user are stored one by
	// one. Beyond it, one entry ends all that began before a given time.
	maxRevocations = 32
)

// ErrNotRead means that the ended sessions have not been read yet.
var ErrNotRead = errors.New("the ended sessions have not been read yet")

// Revocations are the sessions that were ended before they expired. They are
// stored in a table, and each instance that shares it holds them in memory.
// Each user takes bounded space, however often they sign in and out.
type Revocations struct {
	table *queue.Table
	log   *slog.Logger

	mu     sync.RWMutex
	users  map[string]*endedSessions
	locked map[string]chan struct{} // by user, while their entries are being changed; closed afterwards
	read   chan struct{}            // closed once the table has been read
	once   sync.Once

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// endedSessions are the ended sessions of one user.
type endedSessions struct {
	sessions map[SessionID]revocation
	// all, if not zero, ends every session that began no later than All says.
	all revocation
}

// revocation is an entry of the table: for one session, or for all sessions a
// user began up to a given time. Its members are Unix times.
type revocation struct {
	// Created is when the session began.
	Created int64 `json:"created,omitempty"`
	// All is the time up to which all sessions have ended.
	All int64 `json:"all,omitempty"`
	// Until is when every session it ends has expired anyway.
	Until int64 `json:"until"`
}

// WatchRevocations follows the changes of a table until Close.
func WatchRevocations(table *queue.Table, log *slog.Logger) *Revocations {
	r := &Revocations{table: table, log: log, users: make(map[string]*endedSessions), locked: make(map[string]chan struct{}), read: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.wg.Go(r.watch)
	r.wg.Go(r.forget)
	return r
}

// Close stops the background work.
func (r *Revocations) Close() {
	r.cancel()
	r.wg.Wait()
}

// Revoke ends a session for good. When it returns, that is durable and in
// effect here; other instances follow within moments. Ending a session again
// costs no write.
func (r *Revocations) Revoke(ctx context.Context, s Session, until time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	done, err := r.lock(ctx, s.User)
	if err != nil {
		return err
	}
	defer done()
	ended, err := r.Revoked(ctx, s)
	if err != nil || ended {
		return err
	}
	entry := revocation{Created: s.Created.Unix(), Until: until.Unix()}
	if old := r.sessionsOf(s.User); len(old) >= maxRevocations {
		return r.revokeAll(ctx, s.User, entry, old)
	}
	if _, err := r.table.Put(ctx, sessionKey(s.User, s.ID), entry.value()); err != nil {
		return err
	}
	r.store(s.User, s.ID, entry)
	return nil
}

// revokeAll replaces the entries of a user's ended sessions by one that ends
// every session that began no later than they did.
func (r *Revocations) revokeAll(ctx context.Context, user string, last revocation, old map[SessionID]revocation) error {
	all := revocation{All: last.Created, Until: last.Until}
	for _, entry := range old {
		all.All, all.Until = max(all.All, entry.Created), max(all.Until, entry.Until)
	}
	stored, err := r.table.Get(ctx, queue.Key{user})
	var before revocation
	switch {
	case errors.Is(err, queue.ErrNotFound):
		_, err = r.table.Create(ctx, queue.Key{user}, all.value())
	case err == nil:
		// Another instance may have ended more.
		if json.Unmarshal(stored.Value, &before) == nil {
			all.All, all.Until = max(all.All, before.All), max(all.Until, before.Until)
		}
		_, err = r.table.Update(ctx, queue.Key{user}, all.value(), stored.Revision)
	}
	if err != nil {
		return err
	}
	r.storeAll(user, all)
	for id := range old {
		if err := r.forgetSession(ctx, user, id); err != nil {
			return nil // they have ended in any case, and are removed when they expire
		}
	}
	return nil
}

// lock waits until nobody else changes the entries of a user.
func (r *Revocations) lock(ctx context.Context, user string) (done func(), err error) {
	for {
		r.mu.Lock()
		other := r.locked[user]
		if other == nil {
			own := make(chan struct{})
			r.locked[user] = own
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				delete(r.locked, user)
				close(own)
			}, nil
		}
		r.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, errors.Join(queue.ErrUnavailable, context.Cause(ctx))
		}
	}
}

// Revoked reports whether a session was ended. The error is [ErrNotRead].
func (r *Revocations) Revoked(ctx context.Context, s Session) (bool, error) {
	select {
	case <-r.read:
	default:
		if err := r.wait(ctx); err != nil {
			return false, err
		}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	of := r.users[s.User]
	if of == nil {
		return false, nil
	}
	_, ended := of.sessions[s.ID]
	return ended || s.Created.Unix() <= of.all.All, nil
}

// Count returns the number of entries and of their users.
func (r *Revocations) Count() (entries, users int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, of := range r.users {
		entries += len(of.sessions)
		if of.all != (revocation{}) {
			entries++
		}
	}
	return entries, len(r.users)
}

func (r *Revocations) wait(ctx context.Context) error {
	timer := time.NewTimer(readTimeout)
	defer timer.Stop()
	select {
	case <-r.read:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	case <-r.ctx.Done():
	}
	return ErrNotRead
}

func (r *Revocations) sessionsOf(user string) map[SessionID]revocation {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if of := r.users[user]; of != nil {
		return maps.Clone(of.sessions)
	}
	return nil
}

// of returns the sessions of a user. r.mu is held.
func (r *Revocations) of(user string) *endedSessions {
	of := r.users[user]
	if of == nil {
		of = &endedSessions{sessions: make(map[SessionID]revocation)}
		r.users[user] = of
	}
	return of
}

func (r *Revocations) store(user string, id SessionID, entry revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(user).sessions[id] = entry
}

func (r *Revocations) storeAll(user string, entry revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if of := r.of(user); entry.All >= of.all.All {
		of.all = entry
	}
}

func (r *Revocations) watch() {
	logged := false
	for {
		err := r.table.Watch(r.ctx, nil, r.apply, func() { r.once.Do(func() { close(r.read) }) })
		if r.ctx.Err() != nil {
			return
		}
		if !logged {
			logged = true
			r.log.Warn("cannot read the ended sessions; retrying", "error", err)
		}
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(watchRetry):
		}
	}
}

func (r *Revocations) apply(entry queue.Entry) {
	user, id, ok := sessionOf(entry.Key)
	if entry.Deleted {
		r.mu.Lock()
		defer r.mu.Unlock()
		if of := r.users[user]; of != nil && ok {
			delete(of.sessions, id)
			r.tidy(user)
		}
		return
	}
	var value revocation
	switch err := json.Unmarshal(entry.Value, &value); {
	case err != nil:
	case ok:
		r.store(user, id, value)
	case len(entry.Key) == 1:
		r.storeAll(entry.Key[0], value)
	}
}

// tidy removes a user without entries. r.mu is held.
func (r *Revocations) tidy(user string) {
	if of := r.users[user]; of != nil && len(of.sessions) == 0 && of.all == (revocation{}) {
		delete(r.users, user)
	}
}

// forget removes expired entries.
func (r *Revocations) forget() {
	tick := time.NewTicker(forgetInterval)
	defer tick.Stop()
	for {
		r.forgetExpired(time.Now())
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *Revocations) forgetExpired(now time.Time) {
	type session struct {
		user string
		id   SessionID
	}
	over := now.Add(-clockSkew).Unix()
	var sessions []session
	var users []string
	r.mu.RLock()
	for user, of := range r.users {
		if of.all != (revocation{}) && of.all.Until < over {
			users = append(users, user)
		}
		for id, entry := range of.sessions {
			if entry.Until < over {
				sessions = append(sessions, session{user, id})
			}
		}
	}
	r.mu.RUnlock()
	for _, s := range sessions {
		if err := r.forgetSession(r.ctx, s.user, s.id); err != nil {
			return // the next time
		}
	}
	for _, user := range users {
		if err := r.table.Delete(r.ctx, queue.Key{user}, 0); err != nil {
			return
		}
		r.mu.Lock()
		r.of(user).all = revocation{}
		r.tidy(user)
		r.mu.Unlock()
	}
}

func (r *Revocations) forgetSession(ctx context.Context, user string, id SessionID) error {
	if err := r.table.Delete(ctx, sessionKey(user, id), 0); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if of := r.users[user]; of != nil {
		delete(of.sessions, id)
		r.tidy(user)
	}
	return nil
}

func (e revocation) value() []byte {
	value, _ := json.Marshal(e) // numbers
	return value
}

func sessionKey(user string, id SessionID) queue.Key {
	return queue.Key{user, hex.EncodeToString(id[:])}
}

// sessionOf is whose session a key stands for; ok is false if it is none's.
func sessionOf(key queue.Key) (user string, id SessionID, ok bool) {
	if len(key) != 2 {
		return "", id, false
	}
	raw, err := hex.DecodeString(key[1])
	return key[0], id, err == nil && copy(id[:], raw) == len(id) && len(raw) == len(id)
}
