// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

func subscriptionsCommand() *cobra.Command {
	var remove string
	cmd := &cobra.Command{
		Use:   "subscriptions <user>",
		Short: "Shows the devices of a user, or removes one",
		Long: `
Shows the phones, browsers and apps that a user has subscribed, and the result of the
last message to each. The preferences are what its user has changed, not to what; one that is
muted or in quiet hours gets no messages. --delete removes the device with an ID as shown: it gets no
messages until its user turns notifications on again.

The address of a device at its push service is not shown, because anyone who
knows it can send to the device.`,
		Example: "  caddy dovecot-push subscriptions alice@example.com\n" +
			"  caddy dovecot-push subscriptions alice@example.com --delete 7K2QJ5ZC4RLYDTHFVXN3WMEAGB",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			cmd.SilenceUsage = true
			query := "?user=" + url.QueryEscape(args[0])
			if cmd.Flags().Changed("delete") {
				return c.call(http.MethodDelete, "subscriptions/"+url.PathEscape(remove)+query, nil, nil)
			}
			var devices adminapi.Subscriptions
			if err := c.call(http.MethodGet, "subscriptions"+query, nil, &devices); err != nil {
				return err
			}
			if c.json {
				return c.printJSON(devices.Subscriptions)
			}
			return c.printSubscriptions(&devices)
		},
	}
	cmd.Flags().StringVar(&remove, "delete", "", "Remove the device with this ID")
	return cmd
}

func (c *client) printSubscriptions(devices *adminapi.Subscriptions) error {
	if len(devices.Subscriptions) == 0 {
		_, err := fmt.Fprintf(c.out, "%s has no devices\n", devices.User)
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "id\tname\tkind\tpush service or app\tsince\tlast delivery\tpreferences")
	for i := range devices.Subscriptions {
		d := &devices.Subscriptions[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.ID, d.Name, d.Kind, where(d), d.Created.Local().Format(time.DateTime),
			lastDelivery(d), cmp.Or(strings.Join(d.Preferences, ", "), "none"))
	}
	return w.Flush()
}

// where is what is shown of the address of a device.
func where(d *adminapi.Subscription) string {
	switch {
	case d.Environment != "":
		return d.App + " (" + d.Environment + ")"
	case d.App != "":
		return d.App
	default:
		return d.PushService
	}
}

func lastDelivery(d *adminapi.Subscription) string {
	switch {
	case !d.Confirmed:
		return "not confirmed"
	case d.LastDelivery == nil:
		return "none"
	default:
		return d.LastDelivery.Time.Local().Format(time.DateTime) + " " + d.LastDelivery.Outcome
	}
}
