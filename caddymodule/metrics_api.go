// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/events"
)

// What the users of an API do. They live as long as the process, see
// metrics.go.
var (
	signIns = counter("sign_ins_total",
		"Mail logins, by result.", "result")
	streamsOpen = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "streams_open", Help: "Open event streams.",
	})
	streamsEnded = counter("streams_ended_total",
		"Event streams that have ended, by reason.", "reason")
	streamEvents = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "stream_events_total", Help: "Events that were written to streams.",
	})
)

var streamObserver = events.Observer{
	Opened: streamsOpen.Inc,
	Ended: func(end events.End) {
		streamsOpen.Dec()
		streamsEnded.WithLabelValues(string(end)).Inc()
	},
	Sent: func(n int) { streamEvents.Add(float64(n)) },
}
