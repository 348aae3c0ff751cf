// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package throttle counts what somebody may not do too often, such as showing
// wrong passwords.
//
// In come keys, whatever stands for somebody: an address, an account. Out
// comes how long each has to wait. Any number of keys costs a bounded memory.
package throttle

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// sourceBits is the part of an IPv6 address that counts: who has one address
// has the whole /64 (RFC 6177).
const sourceBits = 64

// Limit is what each key may do.
type Limit struct {
	// AtOnce is how often after a quiet time.
	AtOnce int
	// Every is how long one of them takes to come back.
	Every time.Duration
	// Keys bounds the memory: at most twice as many are remembered, some
	// 160 bytes each. Somebody who can make up that many keys makes the
	// throttle forget, but has AtOnce attempts with each of them anyway.
	Keys int
}

// Throttle counts per key. It is safe for concurrent use.
//
// The keys are kept in two generations, so that forgetting the old costs
// nothing: when the younger one is full, it becomes the older one.
type Throttle[K comparable] struct {
	limit Limit

	mu         sync.Mutex
	young, old map[K]*rate.Limiter
}

// New returns a throttle that has counted nothing.
func New[K comparable](limit Limit) *Throttle[K] {
	return &Throttle[K]{limit: limit, young: make(map[K]*rate.Limiter)}
}

// Count counts one time for key. It returns 0 if that was within the limit,
// else the time until the next one is.
func (t *Throttle[K]) Count(key K) time.Duration {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.find(key)
	if l == nil {
		l = rate.NewLimiter(rate.Every(t.limit.Every), t.limit.AtOnce)
		t.put(key, l)
	}
	if l.AllowN(now, 1) {
		return 0
	}
	return t.untilNext(l, now)
}

// Wait returns what Count would, and counts nothing.
func (t *Throttle[K]) Wait(key K) time.Duration {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.find(key)
	if l == nil {
		return 0
	}
	return t.untilNext(l, now)
}

func (t *Throttle[K]) find(key K) *rate.Limiter {
	if l := t.young[key]; l != nil {
		return l
	}
	l := t.old[key]
	if l != nil {
		t.put(key, l)
	}
	return l
}

func (t *Throttle[K]) put(key K, l *rate.Limiter) {
	if len(t.young) >= t.limit.Keys {
		t.old, t.young = t.young, make(map[K]*rate.Limiter)
	}
	t.young[key] = l
}

func (t *Throttle[K]) untilNext(l *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - l.TokensAt(now)
	return max(0, time.Duration(missing*float64(t.limit.Every)))
}

// Source returns what stands for the source of a request: an IPv4 address, or
// the first 64 bits of an IPv6 address. Addresses that are not valid, such as
// the peer of a Unix socket, are one source.
func Source(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if !addr.Is6() {
		return addr
	}
	prefix, _ := addr.Prefix(sourceBits) // without zone
	return prefix.Addr()
}
