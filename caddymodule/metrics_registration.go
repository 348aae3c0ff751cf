// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// registrationCollector reads the state of registration when the metrics are
// asked for.
type registrationCollector struct{ app *App }

var (
	registrationUp        = describe("registration_up", "Whether users can be registered (1), or something keeps all of them from it (0).")
	registrationUsers     = describe("registration_users", "Users by their state after the last pass.", "state")
	registrationPassUsers = describe("registration_pass_users", "Users that the current or last pass covers.")
	registrationPassDone  = describe("registration_pass_done", "Users that the current or last pass has finished.")
	registrationPassTime  = describe("registration_pass_seconds", "How long the current or last pass has taken.")
)

// Describe implements prometheus.Collector.
func (registrationCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		registrationUp, registrationUsers, registrationPassUsers, registrationPassDone, registrationPassTime,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c registrationCollector) Collect(ch chan<- prometheus.Metric) {
	r := c.app.registrations.Load()
	if r == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	status := r.Status()
	gauge(registrationUp, boolValue(status.Outage == "" || c.app.isOver(status.Err)))
	pass := status.Pass
	if pass == nil {
		return
	}
	gauge(registrationPassUsers, float64(pass.Users))
	gauge(registrationPassDone, float64(pass.Done))
	gauge(registrationPassTime, passTime(pass).Seconds())
	for _, state := range []registration.State{
		registration.Registered, registration.Conflict, registration.Failed, registration.UnknownUser,
		registration.Unregistered, registration.Wanted,
	} {
		gauge(registrationUsers, float64(pass.States[state]), string(state))
	}
}

// What was done about registrations. They live as long as the process, see
// metrics.go.
var (
	registrationChanges = counter("registration_changes_total",
		"METADATA entries of users that were set or removed.", "change")
	registrationFailures = counter("registration_failures_total",
		"Failures to register or unregister a user, by reason.", "reason")
)
