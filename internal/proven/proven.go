// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package proven remembers what was found right at some cost, such as a
// password that matches an expensive hash, without keeping it.
//
// In come texts, of which only a MAC is kept, under a key that is made anew
// for each [Set] and never leaves it; out comes whether the same texts were
// added before. Only what is right is to be added, so that strangers can
// neither fill the memory nor push anything out of it.
package proven

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
	"time"
)

// Key is what texts are remembered by.
type Key [sha256.Size]byte

// Set remembers keys. It is safe for concurrent use.
//
// They are kept in two generations, so that forgetting the old costs nothing:
// when the younger one is full, it becomes the older one.
type Set struct {
	limit int
	age   time.Duration
	macs  sync.Pool // of hash.Hash, keyed; whoever takes one has it alone

	mu         sync.RWMutex
	young, old map[Key]time.Time
}

// New returns an empty set that remembers each key for age, or for as long as
// the set lasts if that is 0. At most twice limit keys are remembered, some
// 100 bytes each.
func New(limit int, age time.Duration) *Set {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails (Go 1.24)
	return &Set{
		limit: limit, age: age,
		macs:  sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }},
		young: make(map[Key]time.Time),
	}
}

// Key returns what texts are remembered by. It writes to nothing that another
// caller has: shared buffers are how wrong passwords come to pass for right
// ones.
func (s *Set) Key(texts ...string) (key Key) {
	b := make([]byte, 0, 128)
	for _, text := range texts {
		// With its length before it, so that no other texts give the same
		// bytes.
		b = binary.BigEndian.AppendUint64(b, uint64(len(text)))
		b = append(b, text...)
	}
	mac := s.macs.Get().(hash.Hash)
	defer s.macs.Put(mac)
	mac.Reset()
	mac.Write(b)
	mac.Sum(key[:0])
	return key
}

// Has tells whether key was added, and not too long ago.
func (s *Set) Has(key Key) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	added, ok := s.young[key]
	if !ok {
		added, ok = s.old[key]
	}
	return ok && (s.age == 0 || time.Since(added) < s.age)
}

// Add remembers key from now on.
func (s *Set) Add(key Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.young) >= s.limit {
		s.old, s.young = s.young, make(map[Key]time.Time)
	}
	s.young[key] = time.Now()
}

// Forget takes key out.
func (s *Set) Forget(key Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.young, key)
	delete(s.old, key)
}
