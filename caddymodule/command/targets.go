// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func targetsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "targets",
		Short:   "Deletes what is stored for removed targets",
		Example: "  caddy dovecot-push targets drop newsletter",
	}
	onlySubCommands(cmd)
	cmd.AddCommand(&cobra.Command{
		Use:   "drop <name>…",
		Short: "Deletes what is stored for targets that are no longer configured",
		Long: `
Deletes what is stored for the named targets, which must no longer be configured.
Their notifications are deleted without being delivered, and cannot be restored.
The command does not ask for confirmation. The status shows these targets and
how much is stored for each. Dead letters are kept.`,
		Example: "  caddy dovecot-push targets drop newsletter",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			for _, name := range names {
				if err := c.call(http.MethodDelete, "targets?"+url.Values{"name": {name}}.Encode(), nil, nil); err != nil {
					return err
				}
				if !c.json {
					if _, err := fmt.Fprintf(c.out, "%s dropped\n", name); err != nil {
						return err
					}
				}
			}
			if c.json {
				return c.printJSON(map[string][]string{"dropped": names})
			}
			return nil
		},
	})
	return cmd
}
