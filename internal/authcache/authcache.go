// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package authcache remembers credentials that were verified at some cost, such
// as a password that matched an expensive hash, without storing them.
//
// Only a MAC of the texts is kept, under a random key that each [Cache] makes
// for itself and never gives out. Add only what was verified: then strangers
// can neither fill the cache nor push anything out of it.
package authcache

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/recent"
)

// Key identifies the texts it was made from.
type Key [sha256.Size]byte

// Cache remembers keys. It is safe for concurrent use.
type Cache struct {
	age  time.Duration
	macs sync.Pool // of hash.Hash, keyed; each is used by one caller at a time

	mu    sync.RWMutex
	added *recent.Map[Key, time.Time]
}

// New returns an empty cache that remembers each key for age, or without limit
// if age is 0. At most twice limit keys are remembered, some 100 bytes each.
func New(limit int, age time.Duration) *Cache {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails (Go 1.24)
	return &Cache{
		age:   age,
		macs:  sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }},
		added: recent.NewMap[Key, time.Time](limit),
	}
}

// Key returns the key of texts. It writes to no memory that another caller has:
// a shared buffer could let a wrong password pass for a right one.
func (c *Cache) Key(texts ...string) (key Key) {
	b := make([]byte, 0, 128)
	for _, text := range texts {
		// The length comes first, so that no other texts give the same bytes.
		b = binary.BigEndian.AppendUint64(b, uint64(len(text)))
		b = append(b, text...)
	}
	mac := c.macs.Get().(hash.Hash)
	defer c.macs.Put(mac)
	mac.Reset()
	mac.Write(b)
	mac.Sum(key[:0])
	return key
}

// Has reports whether key was added and has not expired.
func (c *Cache) Has(key Key) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	added, ok := c.added.Get(key)
	return ok && (c.age == 0 || time.Since(added) < c.age)
}

// Add remembers key from now on.
func (c *Cache) Add(key Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.added.Set(key, time.Now())
}
