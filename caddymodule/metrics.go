// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/notify"
)

const namespace, subsystem = "caddy", "dovecot_push"

// Counters live as long as the process: they are registered again with the
// registry of each configuration, so that a reload does not reset them.

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
		buildInfo,
		notifyRequests, notifyDuration, notifyRepaired, guardRefused,
		commitDuration, commitSize, commitErrors,
		attempts, attemptRetries, attemptFailures, attemptDuration, latency, coalesced, silenced, deadLetters,
		signIns, subscriptionRequests, actionRequests, streamsOpen, streamsEnded, streamEvents,
		doveadmRequests, doveadmDuration,
	}
	if app == nil {
		return collectors
	}
	collectors = append(collectors, registrationChanges, registrationFailures, catchUpFound, catchUpLeftOut, catchUpFailures,
		queueCollector{app}, doveadmCollector{app}, registrationCollector{app}, catchUpCollector{app})
	for _, t := range app.targets {
		if m, ok := t.(target.Metered); ok {
			collectors = append(collectors, m.Metrics()...)
		}
	}
	return collectors
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
