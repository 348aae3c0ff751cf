// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/notify"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
)

const (
	// summaryDelay is how soon after a quiet time the log tells that
	// something happened; summaryInterval is how often it does while things
	// go on happening.
	summaryDelay    = 250 * time.Millisecond
	summaryInterval = 10 * time.Second
)

// logSummary tells in the log, as counted facts, what came in and went out.
type logSummary struct {
	log *zap.Logger

	mu     sync.Mutex
	counts summaryCounts
	last   time.Time // when it told the last time
	timer  *time.Timer
	on     bool
}

type summaryCounts struct {
	accepted, duplicates, unused, refused, unstored    int
	delivered, coalesced, silenced, gone, failed, dead int
}

func newLogSummary(log *zap.Logger) *logSummary { return &logSummary{log: log} }

func (a *logSummary) start() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.on = true
}

// stop logs what has not been logged yet.
func (a *logSummary) stop() {
	a.mu.Lock()
	a.on = false
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	a.mu.Unlock()
	a.tell()
}

func (a *logSummary) notify(result notify.Result) {
	a.count(func(c *summaryCounts) {
		switch result {
		case notify.Accepted:
			c.accepted++
		case notify.Duplicate:
			c.duplicates++
		case notify.UnusedEvent:
			c.unused++
		case notify.QueueFull, notify.QueueUnavailable:
			c.unstored++
		default:
			c.refused++
		}
	})
}

func (a *logSummary) attempt(at delivery.Attempt) {
	a.count(func(c *summaryCounts) {
		switch {
		case at.Dead:
			c.dead++
		case at.Coalesced:
			c.coalesced++
		case at.Silenced:
			c.silenced++
		case at.Result.Outcome == delivery.Delivered:
			c.delivered++
		case at.Result.Outcome == delivery.Gone:
			c.gone++
		default:
			c.failed++
		}
	})
}

func (a *logSummary) count(change func(*summaryCounts)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.counts)
	if a.timer == nil && a.on {
		wait := max(summaryDelay, summaryInterval-time.Since(a.last))
		a.timer = time.AfterFunc(wait, a.tell)
	}
}

func (a *logSummary) tell() {
	a.mu.Lock()
	c := a.counts
	a.counts = summaryCounts{}
	a.timer = nil
	a.last = time.Now()
	a.mu.Unlock()
	if c == (summaryCounts{}) {
		return
	}
	a.log.Info("notifications",
		zap.Int("accepted", c.accepted), zap.Int("duplicates", c.duplicates), zap.Int("unused_events", c.unused),
		zap.Int("refused", c.refused), zap.Int("not_stored", c.unstored),
		zap.Int("delivered", c.delivered), zap.Int("coalesced", c.coalesced), zap.Int("silenced", c.silenced), zap.Int("gone", c.gone),
		zap.Int("failed_attempts", c.failed), zap.Int("dead_letters", c.dead))
}
