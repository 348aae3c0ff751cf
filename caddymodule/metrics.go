// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/notify"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const namespace, subsystem = "caddy", "dovecot_push"

// The counters live as long as the process: they are registered again with the
// registry of each configuration, so that a reload does not reset them.
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
	commitDuration = histogram("queue_commit_duration_seconds",
		"How long one write to the queue took.", durations)
	commitSize = histogram("queue_commit_notifications",
		"How many notifications one write to the queue held.", prometheus.ExponentialBuckets(1, 2, 11))
	commitErrors = counter("queue_commit_errors_total",
		"Notifications that could not be stored and were answered with 503.", "reason")
)

var (
	durations = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 5, 10, 30}
	latencies = []float64{.001, .005, .025, .1, .5, 1, 5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600}
)

// startAtZero makes the series of counters whose labels have few values. The
// first event of one that appears with it is no increase to Prometheus, and an
// alert would miss it.
func startAtZero() {
	for _, result := range notify.Results {
		notifyRequests.WithLabelValues(string(result))
	}
	for _, verdict := range []guard.Verdict{guard.Forbidden, guard.TooEarly} {
		guardRefused.WithLabelValues(verdict.String())
	}
	for _, reason := range []string{"full", "too_large", "unavailable"} {
		commitErrors.WithLabelValues(reason)
	}
}

func init() { startAtZero() }

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: name, Help: help,
	}, labels)
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(histogramOpts(name, help, buckets))
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(histogramOpts(name, help, buckets), labels)
}

func histogramOpts(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets}
}

// registerMetrics makes the metrics part of the registry of a configuration.
// app, if not nil, adds the state of its queue and targets.
func registerMetrics(registry *prometheus.Registry, app *App) error {
	for _, c := range collectorsOf(app) {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

// collectorsOf are all metrics there are; without an app, those of the handlers.
func collectorsOf(app *App) []prometheus.Collector {
	collectors := []prometheus.Collector{
		notifyRequests, notifyDuration, notifyRepaired, guardRefused, commitDuration, commitSize, commitErrors,
		subscriptionRequests, doveadmRequests, doveadmDuration, buildInfo,
	}
	collectors = append(collectors, deliveryMetrics...)
	collectors = append(collectors, apiMetrics...)
	if app != nil {
		collectors = append(collectors, registrationMetrics...)
		collectors = append(collectors, catchUpMetrics...)
		collectors = append(collectors, stateCollector{app}, doveadmCollector{app}, registrationCollector{app}, catchUpCollector{app})
	}
	return collectors
}

func observeNotify(result notify.Result, took time.Duration) {
	if result == notify.Accepted {
		notifyAccepted.Inc()
	} else {
		notifyRequests.WithLabelValues(string(result)).Inc()
	}
	notifyDuration.Observe(took.Seconds())
}

func observeGuard(v guard.Verdict) { guardRefused.WithLabelValues(v.String()).Inc() }

func observeCommit(notifications int, took time.Duration, err error) {
	switch {
	case err == nil:
		commitDuration.Observe(took.Seconds())
		commitSize.Observe(float64(notifications))
	case errors.Is(err, queue.ErrFull):
		commitErrors.WithLabelValues("full").Add(float64(notifications))
	case errors.Is(err, queue.ErrTooLarge):
		commitErrors.WithLabelValues("too_large").Add(float64(notifications))
	default:
		commitErrors.WithLabelValues("unavailable").Add(float64(notifications))
	}
}

// counts reads a counter by the values of one of its labels, where the other
// labels, in pairs of name and value, are as given. What never happened is left
// out.
func counts(c *prometheus.CounterVec, label string, where ...string) map[string]uint64 {
	found := make(map[string]uint64)
	metrics := make(chan prometheus.Metric)
	go func() {
		defer close(metrics)
		c.Collect(metrics)
	}()
	for metric := range metrics {
		var m dto.Metric
		if err := metric.Write(&m); err != nil {
			continue
		}
		labels := make(map[string]string, len(m.GetLabel()))
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		wanted := true
		for i := 0; i+1 < len(where); i += 2 {
			wanted = wanted && labels[where[i]] == where[i+1]
		}
		if wanted && m.GetCounter().GetValue() > 0 {
			found[labels[label]] += uint64(m.GetCounter().GetValue())
		}
	}
	return found
}
