// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// stateTimeout bounds how long the metrics wait for the store.
const stateTimeout = 2 * time.Second

// queueCollector reads the queue of an app and its targets when the metrics
// are asked for.
type queueCollector struct{ app *App }

var (
	queueUp            = describe("queue_up", "Whether the queue can be read and written (1) or not (0).")
	queueNotifications = describe("queue_notifications", "Notifications that at least one target has not got yet.")
	queueBytes         = describe("queue_bytes", "Bytes that waiting notifications take in the store.")
	queueLimit         = describe("queue_limit_bytes", "Bytes that waiting notifications may take in the store (max_bytes).")
	queueDamaged       = describe("queue_damaged_files_total", "Files of the embedded queue that were damaged and set aside since Caddy opened it.")
	queueLost          = describe("queue_lost_notifications_total", "Notifications lost in damaged files of the queue, as far as known.")
	queueSetBack       = describe("queue_positions_set_back_total", "Positions of targets that were beyond the end of the queue, such as after a power cut, and were reset.")
	queueOldest        = describe("queue_oldest_age_seconds", "How long the oldest notification has waited, or 0.")
	queueRemoved       = describe("queue_removed_target_notifications", "Notifications stored for a target that is no longer configured.", "target")
	queueDurability    = describe("queue_durability", "What 200 to Dovecot means: 1 for the level that holds (disk, replicas, memory, unknown), 0 for the others.", "level")
	queueProblems      = describe("queue_problems", "Problems of the NATS servers that an operator should fix; the command status names them.")
	targetWaiting      = describe("target_waiting", "Notifications not attempted yet.", "target")
	targetParked       = describe("target_parked", "Notifications waiting for another attempt.", "target")
	targetDead         = describe("target_dead_letters", "Stored dead letters.", "target")
	targetInFlight     = describe("target_in_flight", "Attempts in progress.", "target")
	targetOldest       = describe("target_oldest_age_seconds", "Age of the oldest notification in progress, or 0.", "target")
	targetUp           = describe("target_up", "Whether the target accepts notifications (1) or counts as down (0).", "target")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, nil)
}

// Describe implements prometheus.Collector.
func (queueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		queueUp, queueNotifications, queueBytes, queueLimit, queueOldest, queueDurability, queueProblems,
		queueDamaged, queueLost, queueSetBack, queueRemoved,
		targetWaiting, targetParked, targetDead, targetInFlight, targetOldest, targetUp, devicesNow, subscriptionsNow,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c queueCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	q := c.app.queue.Load()
	if q == nil {
		return // not started, or only validated
	}
	names := c.app.targetNames()
	for _, name := range names {
		status := c.app.engine.Status(name)
		gauge(targetUp, boolValue(!status.Down), name)
		gauge(targetInFlight, float64(status.InFlight), name)
		gauge(targetOldest, ageOf(status.Oldest), name)
	}
	if c.app.devices != nil {
		c.app.devices.collect(ch)
	}
	damage := q.Damage()
	count := func(d *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	count(queueDamaged, damage.Files)
	count(queueLost, damage.Lost)
	count(queueSetBack, damage.SetBack)
	gauge(queueLimit, float64(c.app.Queue.MaxBytes))
	if i := q.Inspect(); i != nil {
		for _, level := range []queue.Durability{queue.OnDisk, queue.OnReplicas, queue.InMemory, queue.Unknown} {
			gauge(queueDurability, boolValue(i.Durability == level), string(level))
		}
		gauge(queueProblems, float64(len(i.Problems)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), stateTimeout)
	defer cancel()
	stats, err := q.Stats(ctx, names)
	gauge(queueUp, boolValue(err == nil))
	if err != nil {
		return
	}
	gauge(queueNotifications, float64(stats.Waiting))
	gauge(queueBytes, float64(stats.Bytes))
	gauge(queueOldest, ageOf(stats.Oldest))
	for name, t := range stats.Removed {
		gauge(queueRemoved, float64(t.Waiting+t.Parked), name)
	}
	for name, t := range stats.Targets {
		gauge(targetWaiting, float64(t.Waiting), name)
		gauge(targetParked, float64(t.Parked), name)
		gauge(targetDead, float64(t.Dead), name)
	}
}

// ageOf is in seconds; 0 of nothing.
func ageOf(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(time.Since(t).Seconds(), 0)
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var (
	commitDuration = histogram("queue_commit_duration_seconds",
		"How long one write to the queue took.", durations)
	commitSize = histogram("queue_commit_notifications",
		"How many notifications one write to the queue held.", prometheus.ExponentialBuckets(1, 2, 11))
	commitErrors = counter("queue_commit_errors_total",
		"Notifications that could not be stored and were answered with 503.", "reason")
)

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
