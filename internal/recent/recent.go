// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package recent remembers what was set last, in a bounded amount of memory.
package recent

// Map is a map of the keys that were set last, at least limit of them and at
// most twice as many. It is not safe for concurrent use; Get and Len change
// nothing.
//
// It has two generations, so that forgetting costs nothing: when the younger
// one is full, it becomes the older one. No value has an age, a place in a list
// or a goroutine that looks for it.
type Map[K comparable, V any] struct {
	limit      int
	young, old map[K]V
}

// NewMap returns an empty map.
func NewMap[K comparable, V any](limit int) *Map[K, V] {
	return &Map[K, V]{limit: limit, young: make(map[K]V)}
}

// Get returns the value of key, if it has one.
func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	if value, ok = m.young[key]; !ok {
		value, ok = m.old[key]
	}
	return value, ok
}

// Set sets the value of key.
func (m *Map[K, V]) Set(key K, value V) {
	if _, ok := m.young[key]; !ok && len(m.young) >= m.limit {
		m.old, m.young = m.young, make(map[K]V)
	}
	m.young[key] = value
}

// Len returns how many values are held. A key that was set again may have two.
func (m *Map[K, V]) Len() int { return len(m.young) + len(m.old) }
