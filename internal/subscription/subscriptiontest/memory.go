// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package subscriptiontest has a table for tests of what keeps devices.
package subscriptiontest

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Memory is a table without a queue below it: a log of everything that was
// written, which those who watch read from its beginning. Time may be virtual.
type Memory struct {
	mu      sync.Mutex
	log     []queue.Entry
	changed chan struct{}
}

// NewMemory returns an empty one.
func NewMemory() *Memory { return &Memory{changed: make(chan struct{})} }

// newest returns the entry as it is; Revision is 0 if it never was.
func (m *Memory) newest(key queue.Key) (newest queue.Entry) {
	for _, e := range m.log {
		if slices.Equal(e.Key, key) {
			newest = e
		}
	}
	return newest
}

func (m *Memory) write(e queue.Entry) uint64 {
	e.Value = bytes.Clone(e.Value)
	e.Revision = uint64(len(m.log) + 1)
	m.log = append(m.log, e)
	close(m.changed)
	m.changed = make(chan struct{})
	return e.Revision
}

// Get is that of a [queue.Table].
func (m *Memory) Get(_ context.Context, key queue.Key) (queue.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.newest(key)
	if e.Revision == 0 || e.Deleted {
		return queue.Entry{}, queue.ErrNotFound
	}
	return e, nil
}

// Create is that of a [queue.Table].
func (m *Memory) Create(_ context.Context, key queue.Key, value []byte) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.newest(key); e.Revision != 0 && !e.Deleted {
		return 0, queue.ErrExists
	}
	return m.write(queue.Entry{Key: key, Value: value}), nil
}

// Update is that of a [queue.Table].
func (m *Memory) Update(_ context.Context, key queue.Key, value []byte, revision uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.newest(key).Revision != revision {
		return 0, queue.ErrChanged
	}
	return m.write(queue.Entry{Key: key, Value: value}), nil
}

// Delete is that of a [queue.Table].
func (m *Memory) Delete(_ context.Context, key queue.Key, revision uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if revision != 0 && m.newest(key).Revision != revision {
		return queue.ErrChanged
	}
	m.write(queue.Entry{Key: key, Deleted: true})
	return nil
}

// Watch is that of a [queue.Table].
func (m *Memory) Watch(ctx context.Context, _ queue.Key, seen func(queue.Entry), current func()) error {
	for read, behind := 0, true; ; {
		m.mu.Lock()
		news, changed := m.log[read:], m.changed
		m.mu.Unlock()
		for _, e := range news {
			seen(e)
		}
		read += len(news)
		if behind {
			current()
			behind = false
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
