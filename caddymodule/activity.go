// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"log/slog"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/notify"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
)

const (
	// activityDelay is how soon after a quiet time the log tells that
	// something happened; activityInterval is how often it does while things
	// go on happening.
	activityDelay    = 250 * time.Millisecond
	activityInterval = 10 * time.Second
)

// activity tells in the log, as counted facts, what came in and went out.
type activity struct {
	log *slog.Logger

	mu     sync.Mutex
	counts activityCounts
	last   time.Time // when it told the last time
	timer  *time.Timer
	on     bool
}

type activityCounts struct {
	accepted, duplicates, unused, refused, unstored int
	delivered, coalesced, gone, failed, dead        int
}

func newActivity(log *slog.Logger) *activity { return &activity{log: log} }

func (a *activity) start() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.on = true
}

// stop logs what has not been logged yet.
func (a *activity) stop() {
	a.mu.Lock()
	a.on = false
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	a.mu.Unlock()
	a.tell()
}

func (a *activity) notify(result notify.Result) {
	a.count(func(c *activityCounts) {
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

func (a *activity) attempt(at delivery.Attempt) {
	a.count(func(c *activityCounts) {
		switch {
		case at.Dead:
			c.dead++
		case at.Coalesced:
			c.coalesced++
		case at.Result.Outcome == delivery.Delivered:
			c.delivered++
		case at.Result.Outcome == delivery.Gone:
			c.gone++
		default:
			c.failed++
		}
	})
}

func (a *activity) count(change func(*activityCounts)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.counts)
	if a.timer == nil && a.on {
		wait := max(activityDelay, activityInterval-time.Since(a.last))
		a.timer = time.AfterFunc(wait, a.tell)
	}
}

func (a *activity) tell() {
	a.mu.Lock()
	c := a.counts
	a.counts = activityCounts{}
	a.timer = nil
	a.last = time.Now()
	a.mu.Unlock()
	if c == (activityCounts{}) {
		return
	}
	a.log.Info("notifications",
		"accepted", c.accepted, "duplicates", c.duplicates, "unused_events", c.unused,
		"refused", c.refused, "not_stored", c.unstored,
		"delivered", c.delivered, "coalesced", c.coalesced, "gone", c.gone, "failed_attempts", c.failed, "dead_letters", c.dead)
}
