// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/subscriptions"
)

var (
	subscriptionRequests = counter("subscription_requests_total",
		"Requests of users about their devices, by result.", "result")
	devicesNow       = describe("devices", "Confirmed devices, by kind: the target that delivers to them.", "kind")
	subscriptionsNow = describe("subscriptions", "Subscribed devices, by whether they have confirmed.", "state")
)

func observeSubscription(e subscriptions.Event) {
	subscriptionRequests.WithLabelValues(string(e)).Inc()
}

func (d *devices) collect(ch chan<- prometheus.Metric) {
	if !d.isStarted() {
		return
	}
	all, confirmed := d.store.Count()
	ch <- prometheus.MustNewConstMetric(subscriptionsNow, prometheus.GaugeValue, float64(confirmed), "confirmed")
	ch <- prometheus.MustNewConstMetric(subscriptionsNow, prometheus.GaugeValue, float64(all-confirmed), "unconfirmed")
	for kind, n := range d.store.CountKinds() {
		ch <- prometheus.MustNewConstMetric(devicesNow, prometheus.GaugeValue, float64(n), kind)
	}
}
