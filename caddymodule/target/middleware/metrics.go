// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package middleware

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// unknownUsers lives as long as the process: a reload does not reset it.
var unknownUsers = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy", Subsystem: "dovecot_push", Name: "middleware_unknown_users_total",
	Help: "Notifications that the middleware accepted and dropped, because Dovecot reported a user that is not <user id>@<context id>.",
}, []string{"target"})

// Metrics implements target.Metered.
func (*Middleware) Metrics() []prometheus.Collector { return []prometheus.Collector{unknownUsers} }

// UnknownUsers implements target.UserChecker.
func (m *Middleware) UnknownUsers() uint64 {
	if !m.OpenXchange {
		return 0
	}
	var value dto.Metric
	if err := unknownUsers.WithLabelValues(m.Name).Write(&value); err != nil {
		return 0
	}
	return uint64(value.GetCounter().GetValue())
}
