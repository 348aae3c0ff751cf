// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
)

// The label endpoint is host and port, and there are as many as are configured.
var (
	doveadmRequests = counter("doveadm_requests_total",
		"Requests to the DoveAdm HTTP API, by outcome.", "endpoint", "outcome")
	doveadmDuration = histograms("doveadm_request_duration_seconds",
		"How long a request to the DoveAdm HTTP API took.", durations, "endpoint")
	doveadmUp = describe("doveadm_endpoint_up",
		"Whether the endpoint is in service (1) or not (0).", "endpoint")
	doveadmConnections = describe("doveadm_endpoint_connections",
		"Open connections to the endpoint.", "endpoint")
)

func observeDoveAdm(r doveadm.RequestInfo) {
	doveadmRequests.WithLabelValues(r.Endpoint, r.Outcome).Inc()
	doveadmDuration.WithLabelValues(r.Endpoint).Observe(r.Took.Seconds())
}

// doveadmCollector reads the state of the endpoints of an app.
type doveadmCollector struct{ app *App }

// Describe implements prometheus.Collector.
func (doveadmCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- doveadmUp
	ch <- doveadmConnections
}

// Collect implements prometheus.Collector.
func (c doveadmCollector) Collect(ch chan<- prometheus.Metric) {
	client := c.app.doveadmClient()
	if client == nil {
		return
	}
	for _, e := range client.Endpoints() {
		ch <- prometheus.MustNewConstMetric(doveadmUp, prometheus.GaugeValue, boolValue(e.InService), e.Address)
		ch <- prometheus.MustNewConstMetric(doveadmConnections, prometheus.GaugeValue, float64(e.Open), e.Address)
	}
}
