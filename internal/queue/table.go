// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Errors of the methods of a Table, besides [ErrUnavailable].
var (
	// ErrNotFound means that there is no entry with this key.
	ErrNotFound = errors.New("no such entry")
	// ErrExists means that Create found an entry with this key.
	ErrExists = errors.New("the entry exists")
	// ErrChanged means that the entry is no longer at the given revision: read
	// it again and decide again.
	ErrChanged = errors.New("the entry was changed meanwhile")
	// ErrKey means that there can be no entry with this key: a part of it is
	// empty, or it is too long.
	ErrKey = errors.New("the key of the entry has an empty part or is too long")
)

// maxKey bounds a key as NATS gets it, in bytes. A NATS server closes the
// connection of a client for good that sends a line of more than 4,096 bytes,
// and what goes with the key needs some of them.
const maxKey = 3000

// markerAge is how long a table remembers that an entry was deleted, so that
// watchers are notified.
const markerAge = time.Hour

// Table is a small durable map in the store of the queue: data that must
// survive a restart and be shared by all users of the store, such as
// registrations and subscriptions. It is created when it is first written, read
// or watched, and is safe for concurrent use.
//
// A write returns when it is as durable as an accepted notification.
type Table struct {
	q      *Queue
	bucket string

	mu   sync.Mutex
	kv   jetstream.KeyValue
	conn *connection // of kv
}

// Key names an entry: its parts go from the general to the particular, such as
// a user and one of the user's devices. A part is any text that is not empty;
// all parts together may have some 2,200 bytes ([ErrKey]).
type Key []string

// Entry is what a table holds.
type Entry struct {
	Key   Key
	Value []byte
	// Revision grows with every write to the table.
	Revision uint64
	// Deleted is whether the entry was deleted. Value is then empty.
	Deleted bool
}

// Table returns the table with the given name (see [ValidName]). The same
// name gives the same entries.
func (q *Queue) Table(name string) *Table {
	return &Table{q: q, bucket: q.names.stream + "_" + name}
}

// Get reads one entry. Errors: [ErrNotFound].
func (t *Table) Get(ctx context.Context, key Key) (Entry, error) {
	var entry Entry
	err := t.at(ctx, key, func(kv jetstream.KeyValue) error {
		e, err := kv.Get(ctx, key.subject())
		if err == nil {
			entry, err = entryOf(e)
		}
		return err
	})
	return entry, err
}

// Put writes an entry, whatever it was before, and returns its revision.
func (t *Table) Put(ctx context.Context, key Key, value []byte) (revision uint64, err error) {
	err = t.at(ctx, key, func(kv jetstream.KeyValue) error {
		revision, err = kv.Put(ctx, key.subject(), value)
		return err
	})
	return revision, err
}

// Create writes an entry that does not exist yet. Errors: [ErrExists].
func (t *Table) Create(ctx context.Context, key Key, value []byte) (revision uint64, err error) {
	return t.create(ctx, key, value)
}

// CreateFor is [Table.Create] for an entry that is deleted after so long, which is
// a second or more.
func (t *Table) CreateFor(ctx context.Context, key Key, value []byte, lifetime time.Duration) (revision uint64, err error) {
	return t.create(ctx, key, value, jetstream.KeyTTL(max(lifetime, time.Second)))
}

func (t *Table) create(ctx context.Context, key Key, value []byte, options ...jetstream.KVCreateOpt) (revision uint64, err error) {
	err = t.at(ctx, key, func(kv jetstream.KeyValue) error {
		revision, err = kv.Create(ctx, key.subject(), value, options...)
		return err
	})
	if errors.Is(err, ErrChanged) {
		err = ErrExists
	}
	return revision, err
}

// Update writes an entry that is at the given revision. Errors: [ErrChanged],
// also when it was deleted.
func (t *Table) Update(ctx context.Context, key Key, value []byte, revision uint64) (next uint64, err error) {
	err = t.at(ctx, key, func(kv jetstream.KeyValue) error {
		next, err = kv.Update(ctx, key.subject(), value, revision)
		return err
	})
	return next, err
}

// Delete removes an entry. It is not an error if there is none. With a revision
// other than 0 it removes the entry only at that revision ([ErrChanged]).
func (t *Table) Delete(ctx context.Context, key Key, revision uint64) error {
	return t.at(ctx, key, func(kv jetstream.KeyValue) error {
		options := []jetstream.KVDeleteOpt{jetstream.PurgeTTL(markerAge)}
		if revision != 0 {
			options = append(options, jetstream.LastRevision(revision))
		}
		return kv.Purge(ctx, key.subject(), options...)
	})
}

// All reads the entries whose keys begin with prefix, or all of them, in the
// order in which they were written. It ends after an error.
func (t *Table) All(ctx context.Context, prefix Key) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		watcher, err := t.watch(ctx, prefix, jetstream.IgnoreDeletes())
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer func() { _ = watcher.Stop() }()
		for {
			entry, err := nextUpdate(ctx, watcher)
			switch {
			case err != nil:
				yield(Entry{}, err)
				return
			case entry == nil: // that was all
				return
			}
			if !yield(*entry, nil) {
				return
			}
		}
	}
}

// Watch calls seen for every entry whose key begins with prefix, then current
// once, then seen for every change, its own included, until ctx ends or the
// store fails. It returns an error in any case; the caller calls it again,
// and gets all entries again, for as long as it needs them.
func (t *Table) Watch(ctx context.Context, prefix Key, seen func(Entry), current func()) error {
	watcher, err := t.watch(ctx, prefix)
	if err != nil {
		return err
	}
	defer func() {
		// What is asked of a store that is being reopened is never answered.
		t.q.change.RLock()
		defer t.q.change.RUnlock()
		_ = watcher.Stop()
	}()
	t.q.change.RLock()
	up := t.q.available.context()
	t.q.change.RUnlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(up, cancel)()
	for {
		entry, err := nextUpdate(ctx, watcher)
		switch {
		case up.Err() != nil:
			return fmt.Errorf("%w: %w", ErrUnavailable, errStoreFailed)
		case err != nil:
			return err
		case entry == nil:
			current()
		default:
			seen(*entry)
		}
	}
}

func (t *Table) watch(ctx context.Context, prefix Key, options ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	if len(prefix) > 0 && !prefix.valid() {
		return nil, ErrKey
	}
	var watcher jetstream.KeyWatcher
	// A watcher lives longer than the call, so it cannot hold up changes.
	err := t.do(ctx, func(kv jetstream.KeyValue) (err error) {
		pattern := ">"
		if len(prefix) > 0 {
			pattern = prefix.subject() + ".>"
		}
		watcher, err = kv.Watch(ctx, pattern, options...)
		return err
	})
	return watcher, err
}

// nextUpdate waits for the next update; nil stands between what was there and
// what is new.
func nextUpdate(ctx context.Context, watcher jetstream.KeyWatcher) (*Entry, error) {
	select {
	case e, ok := <-watcher.Updates():
		if !ok {
			return nil, fmt.Errorf("%w: no longer watching", ErrUnavailable)
		}
		if e == nil {
			return nil, nil
		}
		entry, err := entryOf(e)
		return &entry, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// at is do for one entry, if there can be one.
func (t *Table) at(ctx context.Context, key Key, operation func(jetstream.KeyValue) error) error {
	if !key.valid() {
		return ErrKey
	}
	return t.do(ctx, operation)
}

// do runs one operation while the store is not being changed.
func (t *Table) do(ctx context.Context, operation func(jetstream.KeyValue) error) error {
	t.q.change.RLock()
	defer t.q.change.RUnlock()
	if !t.q.isReady() {
		return fmt.Errorf("%w: %w", ErrUnavailable, errNotReady)
	}
	kv, err := t.open(ctx)
	if err == nil {
		err = operation(kv)
	}
	return tableError(err)
}

// open makes the bucket, or finds it.
func (t *Table) open(ctx context.Context) (jetstream.KeyValue, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	conn := t.q.conn.Load()
	if t.kv != nil && t.conn == conn {
		return t.kv, nil
	}
	kv, err := conn.js.KeyValue(ctx, t.bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = conn.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: t.bucket, Storage: jetstream.FileStorage, Replicas: t.q.replicas(), LimitMarkerTTL: markerAge,
		})
		if errors.Is(err, jetstream.ErrBucketExists) { // another one was faster
			kv, err = conn.js.KeyValue(ctx, t.bucket)
		}
	}
	if err == nil {
		err = t.q.persist("KV_" + t.bucket)
	}
	if err != nil {
		return nil, err
	}
	t.kv, t.conn = kv, conn
	t.q.track("KV_" + t.bucket)
	return kv, nil
}

func tableError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		return ErrNotFound
	case errors.Is(err, jetstream.ErrKeyExists): // the code of every wrong revision
		return ErrChanged
	default:
		return storeError(err)
	}
}

// subject is the key as NATS takes it: any text may be a part of ours.
func (k Key) subject() string {
	parts := make([]string, len(k))
	for i, part := range k {
		parts[i] = base64.RawURLEncoding.EncodeToString([]byte(part))
	}
	return strings.Join(parts, ".")
}

// valid reports whether NATS takes the key.
func (k Key) valid() bool {
	length := len(k) - 1
	for _, part := range k {
		if part == "" {
			return false
		}
		length += base64.RawURLEncoding.EncodedLen(len(part))
	}
	return len(k) > 0 && length <= maxKey
}

func entryOf(e jetstream.KeyValueEntry) (Entry, error) {
	entry := Entry{Value: e.Value(), Revision: e.Revision(), Deleted: e.Operation() != jetstream.KeyValuePut}
	for encoded := range strings.SplitSeq(e.Key(), ".") {
		part, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil {
			return entry, fmt.Errorf("an entry of the store has a key that is not ours: %w", err)
		}
		entry.Key = append(entry.Key, string(part))
	}
	return entry, nil
}
