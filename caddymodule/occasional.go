// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// occasional keeps a log line that strangers can cause from flooding the log:
// a few at once, then one in ten seconds.
type occasional struct {
	limit      *rate.Limiter
	suppressed atomic.Int64
}

func newOccasional() *occasional {
	return &occasional{limit: rate.NewLimiter(rate.Every(10*time.Second), 3)}
}

// ok reports whether to log now, and how many lines were left out before.
func (o *occasional) ok() (bool, int64) {
	if !o.limit.Allow() {
		o.suppressed.Add(1)
		return false, 0
	}
	return true, o.suppressed.Swap(0)
}
