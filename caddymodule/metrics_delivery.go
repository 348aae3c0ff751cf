// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
)

// The results of notifications, by target. They live as long as the process,
// see metrics.go.
var (
	attempts = counter("delivery_attempts_total",
		"Attempts to deliver a notification, by outcome.", "target", "outcome")
	attemptRetries = counter("delivery_retries_total",
		"Attempts that were not the first for their notification.", "target")
	attemptFailures = counter("delivery_failures_total",
		"Attempts that failed, by reason.", "target", "reason")
	attemptDuration = histograms("delivery_duration_seconds",
		"How long an attempt to deliver took.", durations, "target")
	latency = histograms("delivery_latency_seconds",
		"How long after its acceptance a notification was delivered.", latencies, "target")
	coalesced = counter("delivery_coalesced_total",
		"Notifications that were not delivered because a newer one of the same folder was.", "target")
	silenced = counter("delivery_silenced_total",
		"Messages that were not sent because of the preferences of the device, by reason: folder, sender, quiet_hours or muted.", "target", "reason")
	deadLetters = counter("dead_letters_total",
		"Notifications that became dead letters, by reason.", "target", "reason")
)

// observeAttempt counts the result of one notification.
func observeAttempt(a delivery.Attempt) {
	if a.Coalesced {
		coalesced.WithLabelValues(a.Target).Inc()
		return
	}
	if a.Silenced {
		silenced.WithLabelValues(a.Target, a.Result.Reason).Inc()
		return
	}
	if a.Took > 0 { // a notification can die of age without an attempt
		attempts.WithLabelValues(a.Target, a.Result.Outcome.String()).Inc()
		attemptDuration.WithLabelValues(a.Target).Observe(a.Took.Seconds())
		if a.Attempts > 1 {
			attemptRetries.WithLabelValues(a.Target).Inc()
		}
	}
	switch {
	case a.Dead:
		deadLetters.WithLabelValues(a.Target, a.Result.Reason).Inc()
	case a.Result.Outcome == delivery.Delivered:
		latency.WithLabelValues(a.Target).Observe(a.Age.Seconds())
	case a.Result.Outcome == delivery.Gone:
	default:
		attemptFailures.WithLabelValues(a.Target, a.Result.Reason).Inc()
	}
}
