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
	// revocationsAway is how long somebody waits for what is stored to be read,
	// or for a change that is under way.
	revocationsAway = 5 * time.Second
	// watchAgain is when it is tried again to read it.
	watchAgain = time.Second
	// forgetInterval is how often what has expired is taken out.
	forgetInterval = time.Hour
	// maxRevocations bounds how many ended sessions of a user are kept one by
	// one. Beyond it, all that began before a time have ended.
	maxRevocations = 32
)

// ErrNotRead means that it is not known which sessions were ended.
var ErrNotRead = errors.New("the sessions that were ended could not be read so far")

// Revocations are the sessions that were ended before they expired. They are
// kept in a table, and each Caddy that shares it knows them in memory. A user
// takes a bounded place there, however often they sign in and out.
type Revocations struct {
	table *queue.Table
	log   *slog.Logger

	mu       sync.RWMutex
	users    map[string]*endedSessions
	changing map[string]chan struct{} // users whose entries are being changed; closed after that
	read     chan struct{}            // closed when what was stored is known
	once     sync.Once

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// endedSessions are those of one user.
type endedSessions struct {
	sessions map[SessionID]revocation
	// all, if not zero, ends every session that began no later than All says.
	all revocation
}

// revocation is an entry of the table: of a session, or of all that a user began
// up to a time. Its members are Unix times.
type revocation struct {
	// Created is when the session began.
	Created int64 `json:"created,omitempty"`
	// All is up to when.
	All int64 `json:"all,omitempty"`
	// Until is when everything that it ends has expired.
	Until int64 `json:"until"`
}

// WatchRevocations keeps up with a table until Close.
func WatchRevocations(table *queue.Table, log *slog.Logger) *Revocations {
	r := &Revocations{table: table, log: log, users: make(map[string]*endedSessions), changing: make(map[string]chan struct{}), read: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.wg.Go(r.watch)
	r.wg.Go(r.forget)
	return r
}

// Close ends what goes on in the background.
func (r *Revocations) Close() {
	r.cancel()
	r.wg.Wait()
}

// Revoke ends a session for good. It is durable when it returns, and known here;
// elsewhere it is a moment later. A session that has ended costs no write.
func (r *Revocations) Revoke(ctx context.Context, s Session, until time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, revocationsAway)
	defer cancel()
	done, err := r.change(ctx, s.User)
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
	r.note(s.User, s.ID, entry)
	return nil
}

// revokeAll ends all sessions of a user that began no later than those that
// have ended, in one entry in place of theirs.
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
		// Another Caddy may have ended more.
		if json.Unmarshal(stored.Value, &before) == nil {
			all.All, all.Until = max(all.All, before.All), max(all.Until, before.Until)
		}
		_, err = r.table.Update(ctx, queue.Key{user}, all.value(), stored.Revision)
	}
	if err != nil {
		return err
	}
	r.noteAll(user, all)
	for id := range old {
		if err := r.forgetSession(ctx, user, id); err != nil {
			return nil // they have ended in any case, and are forgotten when they expire
		}
	}
	return nil
}

// change waits for its turn to change the entries of a user.
func (r *Revocations) change(ctx context.Context, user string) (done func(), err error) {
	for {
		r.mu.Lock()
		other := r.changing[user]
		if other == nil {
			own := make(chan struct{})
			r.changing[user] = own
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				delete(r.changing, user)
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

// Revoked tells whether a session was ended. The error is [ErrNotRead].
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

// Count is how many entries are kept, and of how many users.
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
	timer := time.NewTimer(revocationsAway)
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

func (r *Revocations) note(user string, id SessionID, entry revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(user).sessions[id] = entry
}

func (r *Revocations) noteAll(user string, entry revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if of := r.of(user); entry.All >= of.all.All {
		of.all = entry
	}
}

func (r *Revocations) watch() {
	told := false
	for {
		err := r.table.Watch(r.ctx, nil, r.see, func() { r.once.Do(func() { close(r.read) }) })
		if r.ctx.Err() != nil {
			return
		}
		if !told {
			told = true
			r.log.Warn("the sessions that were ended cannot be read; it will be tried again", "error", err)
		}
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(watchAgain):
		}
	}
}

func (r *Revocations) see(entry queue.Entry) {
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
		r.note(user, id, value)
	case len(entry.Key) == 1:
		r.noteAll(entry.Key[0], value)
	}
}

// tidy forgets a user of whom nothing is left. r.mu is held.
func (r *Revocations) tidy(user string) {
	if of := r.users[user]; of != nil && len(of.sessions) == 0 && of.all == (revocation{}) {
		delete(r.users, user)
	}
}

// forget takes out what has expired.
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
