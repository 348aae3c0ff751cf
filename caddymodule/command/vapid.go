// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"net/http"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

func vapidCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vapid",
		Short: "Shows or replaces the keys by which push services know this server",
		Long: `
Web Push services identify this server by a key pair (VAPID, RFC 8292), which is
in Caddy's storage. Each device belongs to the key its browser was given when it
subscribed.`,
		Example: "  caddy dovecot-push vapid show\n  caddy dovecot-push vapid rotate",
	}
	ask := func(use, short, long, method, path string) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Long: long, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				c, err := newClient(cmd)
				if err != nil {
					return err
				}
				var keys adminapi.VAPIDKeys
				if err := c.call(method, path, nil, &keys); err != nil {
					return err
				}
				if c.json {
					return c.printJSON(keys)
				}
				return c.printVAPID(&keys)
			},
		}
	}
	onlySubCommands(cmd)
	cmd.AddCommand(
		ask("show", "Shows the public keys and how many devices use each", "", http.MethodGet, "vapid"),
		ask("rotate", "Makes a new key pair", `
Makes a new key pair. New subscriptions are made with it at once. Devices that
subscribed before go on to be notified with their key, and move to the new one
when their page is opened. Keys that no device uses any more are deleted, but
for the one before.`, http.MethodPost, "vapid/rotate"),
	)
	return cmd
}

func (c *client) printVAPID(keys *adminapi.VAPIDKeys) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "public key\tcreated\tdevices")
	for _, k := range keys.Keys {
		fmt.Fprintf(w, "%s\t%s\t%d\n", k.PublicKey, k.Created.Format("2006-01-02 15:04"), k.Devices)
	}
	return w.Flush()
}
