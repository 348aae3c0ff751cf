// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

func keysCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keys",
		Short: "Shows the keys by which the services of devices know this server, and when they end",
		Long: `
Shows the keys of deliver webpush, apns and fcm: since when each is in use, and
when it ends. Google is asked when the key of a service account does. Those of
Web Push and APNs have no end.`,
		Example: "  caddy dovecot-push keys",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var keys adminapi.Keys
			if err := c.call(http.MethodGet, "keys", nil, &keys); err != nil {
				return err
			}
			if c.json {
				return c.printJSON(keys)
			}
			return c.printKeys(&keys)
		},
	}
}

func (c *client) printKeys(keys *adminapi.Keys) error {
	if len(keys.Keys) == 0 {
		_, err := fmt.Fprintln(c.out, "no target has a key")
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "target\tkey\tsince\tends")
	day := func(t time.Time, unknown string) string {
		if t.IsZero() {
			return unknown
		}
		return t.Format(time.DateOnly)
	}
	for _, k := range keys.Keys {
		ends := day(k.Ends, "never")
		switch left := time.Until(k.Ends); {
		case k.Error != "":
			ends = day(k.Ends, "not known: "+k.Error)
		case !k.Ends.IsZero() && left < 0:
			ends += ", HAS ENDED"
		case !k.Ends.IsZero():
			ends += fmt.Sprintf(", in %d days", int(left.Hours()/24))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.Target, cmp.Or(k.ID, "-"), day(k.Since, "-"), ends)
	}
	return w.Flush()
}
