// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package throttle limits how often each key may do something, such as show a
// wrong password. A key is whatever identifies the caller: an address, an
// account. Any number of keys costs a bounded amount of memory.
//
// Count first ([Throttle.Count]), then act, then give back what did no harm
// ([Throttle.Return]). Checking first and counting later would let every
// concurrent caller through.
package throttle

import (
	"net/netip"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/recent"
)

// sourceBits is the part of an IPv6 address that identifies a source: the owner
// of one address usually has the whole /64 (RFC 6177).
const sourceBits = 64

// Limit is what each key may do.
type Limit struct {
	// Burst is how many are allowed at once after a quiet time.
	Burst int
	// Interval is how long it takes until one more is allowed.
	Interval time.Duration
	// Keys bounds the memory: at most twice as many are remembered, some 100
	// bytes each. Anyone who can make up that many keys makes the throttle
	// forget some, but has Burst attempts with each of them anyway.
	Keys int
}

// Throttle counts per key. It is safe for concurrent use.
type Throttle[K comparable] struct {
	limit Limit

	mu sync.Mutex
	// back is when all that was counted for a key has come back (the generic
	// cell rate algorithm).
	back *recent.Map[K, time.Time]
}

// New returns a throttle that has counted nothing.
func New[K comparable](limit Limit) *Throttle[K] {
	return &Throttle[K]{limit: limit, back: recent.NewMap[K, time.Time](limit.Keys)}
}

// Count counts one time for key. It returns 0 if that was within the limit,
// else the time until the next one is; then nothing was counted.
func (t *Throttle[K]) Count(key K) time.Duration {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	back := t.find(key, now)
	wait := t.untilNext(back, now)
	if wait == 0 {
		back = back.Add(t.limit.Interval)
	}
	t.back.Set(key, back)
	return wait
}

// Return takes back one Count of key that was within the limit.
func (t *Throttle[K]) Return(key K) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if back := t.find(key, now); back.After(now) {
		t.back.Set(key, back.Add(-t.limit.Interval))
	}
}

// Wait returns what Count would, and counts nothing. It is good for refusing
// early what Count refuses later, and for nothing else.
func (t *Throttle[K]) Wait(key K) time.Duration {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.untilNext(t.find(key, now), now)
}

// Quiet reports whether all that was counted for key has come back.
func (t *Throttle[K]) Quiet(key K) bool {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.find(key, now).After(now)
}

// find returns when all that was counted for key has come back, or now if that
// time is over. A key that is still in use is not forgotten.
func (t *Throttle[K]) find(key K, now time.Time) time.Time {
	back, _ := t.back.Get(key)
	if !back.After(now) {
		return now
	}
	t.back.Set(key, back)
	return back
}

func (t *Throttle[K]) untilNext(back, now time.Time) time.Duration {
	return max(0, back.Sub(now)-time.Duration(t.limit.Burst-1)*t.limit.Interval)
}

// Source returns the key of a request's source: an IPv4 address, or the first
// 64 bits of an IPv6 address. All invalid addresses, such as that of a Unix
// socket's peer, are one source.
func Source(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if !addr.Is6() {
		return addr
	}
	prefix, _ := addr.Prefix(sourceBits) // without zone
	return prefix.Addr()
}
