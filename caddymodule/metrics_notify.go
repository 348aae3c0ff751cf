// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/notify"
)

var (
	notifyRequests = counter("notify_requests_total",
		"Requests to the notify endpoint, by result.", "result")
	// notifyAccepted is one of them, so that the usual request need not look
	// for it.
	notifyAccepted = notifyRequests.WithLabelValues(string(notify.Accepted))
	notifyDuration = histogram("notify_duration_seconds",
		"How long Dovecot waited for the answer of the notify endpoint.", durations)
	notifyRepaired = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "notify_repaired_total",
		Help: "Notifications that Dovecot 2.2.19 to 2.2.32 reported in invalid JSON, and that were stored as valid JSON.",
	})
	guardRefused = counter("guard_refused_total",
		"Requests refused because of their source.", "reason")
)

func observeNotify(result notify.Result, took time.Duration) {
	if result == notify.Accepted {
		notifyAccepted.Inc()
	} else {
		notifyRequests.WithLabelValues(string(result)).Inc()
	}
	notifyDuration.Observe(took.Seconds())
}

func observeGuard(v guard.Verdict) { guardRefused.WithLabelValues(v.String()).Inc() }
