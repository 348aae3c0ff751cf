// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

// version is that of this binary.
var version = func() adminapi.Version {
	simple, _ := caddy.Version()
	return adminapi.NewVersion(simple)
}()

// buildInfo is always 1; its labels tell.
var buildInfo = func() *prometheus.GaugeVec {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "build_info", Help: "Always 1, with the versions of the module, of Caddy and of Go.",
	}, []string{"version", "caddy", "go"})
	info.WithLabelValues(version.Module, version.Caddy, version.Go).Set(1)
	return info
}()
