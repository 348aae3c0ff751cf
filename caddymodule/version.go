// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
)

// modulePath is the Go module of this repository.
const modulePath = "github.com/dovecotpush/caddy-dovecot-push"

func init() { commands = append(commands, versionCommand) }

// version is that of this binary.
var version = sync.OnceValue(func() Version {
	v := Version{Module: "unknown", Go: runtime.Version()}
	v.Caddy, _ = caddy.Version()
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path != modulePath {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		v.Module = m.Version
		if v.Module == "" { // replaced by a directory
			v.Module = "(devel)"
		}
	}
	return v
})

// buildInfo is always 1; its labels tell.
var buildInfo = func() *prometheus.GaugeVec {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "build_info", Help: "Always 1, with the versions of the module, of Caddy and of Go.",
	}, []string{"version", "caddy", "go"})
	v := version()
	info.WithLabelValues(v.Module, v.Caddy, v.Go).Set(1)
	return info
}()

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Prints what this binary was built from",
		Long: `
Prints the versions of the module, of Caddy and of Go that this binary was built
from. It asks no running Caddy: what that one was built from stands in the status.`,
		Example: "  caddy dovecot-push version\n  caddy dovecot-push version --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := &client{out: cmd.OutOrStdout()}
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				return c.printJSON(version())
			}
			_, err := fmt.Fprintln(c.out, version())
			return err
		},
	}
}
