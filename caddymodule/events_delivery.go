// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import "github.com/dovecotpush/caddy-dovecot-push/internal/delivery"

// Events about deliveries. Their data has no user and nothing of a mail.
//
//	dovecot_push.delivered      target, id, attempts, latency (seconds)
//	dovecot_push.dead_letter    target, id, attempts, reason
//	dovecot_push.target_paused  target, paused (false: it is back), reason
const (
	eventDelivered    = "delivered"
	eventDeadLetter   = "dead_letter"
	eventTargetPaused = "target_paused"
)

// observeAttempt is called with every attempt by the goroutine that made it.
func (a *App) observeAttempt(at delivery.Attempt) {
	a.traces.attempt(&at)
	if at.Skipped { // nothing happened
		return
	}
	observeAttempt(at)
	a.failures.note(&at)
	a.summary.attempt(at)
	if at.Ended() {
		a.tracing.ended(&at)
	}
	switch {
	case at.Dead:
		a.events.emit(eventDeadLetter, func() map[string]any {
			return map[string]any{
				"target": at.Target, "id": at.ID.String(), "attempts": at.Attempts, "reason": at.Result.Reason,
			}
		})
	case at.Result.Outcome == delivery.Delivered:
		a.events.emit(eventDelivered, func() map[string]any {
			return map[string]any{
				"target": at.Target, "id": at.ID.String(), "attempts": at.Attempts, "latency": at.Age.Seconds(),
			}
		})
	}
}

// observePause is called when a target is paused or is back.
func (a *App) observePause(target string, paused bool, r delivery.Result) {
	a.events.emit(eventTargetPaused, func() map[string]any {
		return map[string]any{"target": target, "paused": paused, "reason": r.Reason}
	})
}
