// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Prints the versions this binary was built from",
		Long: `
Prints the versions of the module, of Caddy and of Go that this binary was built
from. The status shows those of the running Caddy.`,
		Example: "  caddy dovecot-push version\n  caddy dovecot-push version --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			simple, _ := caddy.Version()
			version := adminapi.NewVersion(simple)
			c := &client{out: cmd.OutOrStdout()}
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				return c.printJSON(version)
			}
			_, err := fmt.Fprintln(c.out, version)
			return err
		},
	}
}
