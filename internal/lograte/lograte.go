// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package lograte keeps lines that strangers can cause from flooding a log: it
// reports whether to write one now, and how many were left out before.
package lograte

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxKeys bounds the memory, to some 100 kB.
const maxKeys = 1024

// Limit is how many lines are written.
type Limit struct {
	// Interval is how often the same is written about the same key; 0 is no
	// limit.
	Interval time.Duration
	// Burst and Every bound all lines together: as many at once, then one in
	// that time.
	Burst int
	Every time.Duration
}

// Limiter limits lines. It is safe for concurrent use.
type Limiter[K comparable] struct {
	interval time.Duration

	mu    sync.Mutex
	limit *rate.Limiter
	lines map[K]*line
}

type line struct {
	last  time.Time
	since int64 // how many were left out since then
}

// New returns a limiter that has written nothing yet.
func New[K comparable](l Limit) *Limiter[K] {
	return &Limiter[K]{interval: l.Interval, limit: rate.NewLimiter(rate.Every(l.Every), l.Burst), lines: make(map[K]*line)}
}

// Allow reports whether to write a line about a key, and how many about it were left
// out since the last one.
func (l *Limiter[K]) Allow(key K) (now bool, suppressed int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	about := l.lines[key]
	if about == nil {
		if len(l.lines) >= maxKeys {
			clear(l.lines)
		}
		about = new(line)
		l.lines[key] = about
	}
	t := time.Now()
	if t.Sub(about.last) < l.interval || !l.limit.AllowN(t, 1) {
		about.since++
		return false, 0
	}
	suppressed = about.since
	*about = line{last: t}
	return true, suppressed
}
