// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// revocationsAway is how long somebody waits for what is stored to be read.
	revocationsAway = 5 * time.Second
	// watchAgain is when it is tried again to read it.
	watchAgain = time.Second
	// forgetInterval is how often what has expired is taken out.
	forgetInterval = time.Hour
)

// ErrNotRead means that it is not known which sessions were ended.
var ErrNotRead = errors.New("the sessions that were ended could not be read so far")

// Revocations are the sessions that were ended before they expired. They are
// kept in a table, and each Caddy that shares it knows them in memory.
type Revocations struct {
	table *queue.Table
	log   *slog.Logger

	mu    sync.RWMutex
	until map[SessionID]time.Time
	read  chan struct{} // closed when what was stored is known
	once  sync.Once

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// WatchRevocations keeps up with a table until Close.
func WatchRevocations(table *queue.Table, log *slog.Logger) *Revocations {
	r := &Revocations{table: table, log: log, until: make(map[SessionID]time.Time), read: make(chan struct{})}
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
// elsewhere it is a moment later.
func (r *Revocations) Revoke(ctx context.Context, id SessionID, until time.Time) error {
	_, err := r.table.Put(ctx, keyOf(id), strconv.AppendInt(nil, until.Unix(), 10))
	if err == nil {
		r.note(id, until)
	}
	return err
}

// Revoked tells whether a session was ended. The error is [ErrNotRead].
func (r *Revocations) Revoked(ctx context.Context, id SessionID) (bool, error) {
	select {
	case <-r.read:
	default:
		if err := r.wait(ctx); err != nil {
			return false, err
		}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.until[id]
	return ok, nil
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

func (r *Revocations) note(id SessionID, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until[id] = until
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
	id, ok := idOf(entry.Key)
	seconds, err := strconv.ParseInt(string(entry.Value), 10, 64)
	if !ok || err != nil {
		return // deleted, or not one of ours
	}
	r.note(id, time.Unix(seconds, 0))
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
	r.mu.RLock()
	var expired []SessionID
	for id, until := range r.until {
		if now.After(until.Add(clockSkew)) {
			expired = append(expired, id)
		}
	}
	r.mu.RUnlock()
	for _, id := range expired {
		if err := r.table.Delete(r.ctx, keyOf(id), 0); err != nil {
			return // the next time
		}
		r.mu.Lock()
		delete(r.until, id)
		r.mu.Unlock()
	}
}

func keyOf(id SessionID) queue.Key { return queue.Key{hex.EncodeToString(id[:])} }

func idOf(key queue.Key) (id SessionID, ok bool) {
	if len(key) != 1 {
		return id, false
	}
	raw, err := hex.DecodeString(key[0])
	return id, err == nil && copy(id[:], raw) == len(id) && len(raw) == len(id)
}
