// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dovecotpush/caddy-dovecot-push/internal/catchup"
)

// What the catch-up found. They live as long as the process, see metrics.go.
var (
	catchUpFound = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "catch_up_found_total",
		Help: "New mails that Dovecot did not report, and whose notifications were accepted in its place.",
	})
	catchUpLeftOut = counter("catch_up_left_out_total",
		"Mails that Dovecot did not report and that are not told, by reason: seen, appended, old, too_many, too_large.", "reason")
	catchUpFailures = counter("catch_up_failures_total",
		"Users whose mailbox could not be looked at, and once for what concerns all, by reason.", "reason")
)

func init() {
	for _, reason := range catchup.Reasons {
		catchUpLeftOut.WithLabelValues(string(reason))
	}
}

// catchUpObserver counts what happens.
type catchUpObserver struct{}

func (catchUpObserver) Found() { catchUpFound.Inc() }

func (catchUpObserver) LeftOut(reason catchup.Reason, mails int) {
	catchUpLeftOut.WithLabelValues(string(reason)).Add(float64(mails))
}

func (catchUpObserver) Failed(reason string) { catchUpFailures.WithLabelValues(reason).Inc() }

// catchUpCollector reads the state of the catch-up when the metrics are asked
// for.
type catchUpCollector struct{ app *App }

var (
	catchUpLeads   = describe("catch_up_leads", "Whether this Caddy catches up (1), or another one that shares the queue does (0).")
	catchUpUsers   = describe("catch_up_users", "Users that the current or last sweep over all of them has to look at.")
	catchUpBehind  = describe("catch_up_users_behind", "Users of whom the current or last sweep found mails that were not reported.")
	catchUpWaiting = describe("catch_up_users_waiting", "Those of them whose mails are still to be told.")
	catchUpFailed  = describe("catch_up_users_failed", "Users that the current or last sweep could not look at.")
	catchUpLast    = describe("catch_up_last_sweep_timestamp_seconds", "When the last sweep over all users ended; 0 before the first.")
	catchUpSeconds = describe("catch_up_sweep_seconds", "How long the current or last sweep has taken.")
	catchUpOldest  = describe("catch_up_oldest_missed_seconds", "How old the oldest mail was that the current or last sweep found; 0 if it found none.")
)

// Describe implements prometheus.Collector.
func (catchUpCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		catchUpLeads, catchUpUsers, catchUpBehind, catchUpWaiting, catchUpFailed, catchUpLast, catchUpSeconds, catchUpOldest,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c catchUpCollector) Collect(ch chan<- prometheus.Metric) {
	catcher := c.app.catcher.Load()
	if catcher == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	s := catcher.Status()
	gauge(catchUpLeads, boolValue(s.Leads))
	last := 0.0
	if !s.Ended.IsZero() {
		last = float64(s.Ended.Unix())
	}
	gauge(catchUpLast, last)
	p := s.Sweep
	if p == nil {
		return
	}
	end := p.Ended
	if end.IsZero() {
		end = time.Now()
	}
	gauge(catchUpUsers, float64(p.Users))
	gauge(catchUpBehind, float64(p.Behind))
	gauge(catchUpWaiting, float64(p.Waiting))
	gauge(catchUpFailed, float64(p.Failed))
	gauge(catchUpSeconds, end.Sub(p.Started).Seconds())
	oldest := 0.0
	if !p.Oldest.IsZero() {
		oldest = max(p.Started.Sub(p.Oldest).Seconds(), 0)
	}
	gauge(catchUpOldest, oldest)
}
