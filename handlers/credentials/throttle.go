// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// failuresAtOnce and failureInterval are how often a source may fail.
	failuresAtOnce  = 10
	failureInterval = time.Second

	// maxSources bounds the memory: at most twice as many sources are
	// remembered, some 1.3 MB. Somebody who has that many addresses makes
	// the throttle forget, but has ten attempts from each of them anyway.
	maxSources = 4096

	// sourceBits is the part of an IPv6 address that counts: who has one
	// address has the whole /64 (RFC 6177).
	sourceBits = 64
)

// throttle counts failures per source.
//
// The sources are kept in two generations, so that forgetting the old costs
// nothing: when the younger one is full, it becomes the older one.
type throttle struct {
	mu         sync.Mutex
	young, old map[netip.Addr]*rate.Limiter
}

func newThrottle() *throttle {
	return &throttle{young: make(map[netip.Addr]*rate.Limiter)}
}

// fail counts a failure of source. It returns 0 if source may go on, else the
// time until it may.
func (t *throttle) fail(source netip.Addr) time.Duration {
	now := time.Now()
	key := sourceKey(source)
	t.mu.Lock()
	defer t.mu.Unlock()
	limit := t.find(key)
	if limit == nil {
		limit = rate.NewLimiter(rate.Every(failureInterval), failuresAtOnce)
		t.put(key, limit)
	}
	if limit.AllowN(now, 1) {
		return 0
	}
	return untilNext(limit, now)
}

// wait returns what fail would, and counts nothing.
func (t *throttle) wait(source netip.Addr) time.Duration {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	limit := t.find(sourceKey(source))
	if limit == nil {
		return 0
	}
	return untilNext(limit, now)
}

func (t *throttle) find(key netip.Addr) *rate.Limiter {
	if limit := t.young[key]; limit != nil {
		return limit
	}
	limit := t.old[key]
	if limit != nil {
		t.put(key, limit)
	}
	return limit
}

func (t *throttle) put(key netip.Addr, limit *rate.Limiter) {
	if len(t.young) >= maxSources {
		t.old, t.young = t.young, make(map[netip.Addr]*rate.Limiter)
	}
	t.young[key] = limit
}

func untilNext(limit *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - limit.TokensAt(now)
	return max(0, time.Duration(missing*float64(failureInterval)))
}

// sourceKey returns what stands for a source. Addresses that are not valid,
// such as the peer of a Unix socket, are one source.
func sourceKey(source netip.Addr) netip.Addr {
	source = source.Unmap()
	if !source.Is6() {
		return source
	}
	prefix, _ := source.Prefix(sourceBits) // without zone
	return prefix.Addr()
}
