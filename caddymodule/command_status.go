// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Shows what waits in the queue and how the targets are",
		Example: "  caddy dovecot-push status\n  caddy dovecot-push status --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var status Status
			if err := c.call(http.MethodGet, "status", nil, &status); err != nil {
				return err
			}
			if c.json {
				return c.printJSON(status)
			}
			return c.printStatus(&status)
		},
	}
}

func (c *client) printStatus(s *Status) error {
	state := "takes notifications"
	if !s.Queue.Up {
		state = "CANNOT STORE: " + s.Queue.Error
	}
	fmt.Fprintf(c.out, "queue: %s\n", state)
	fmt.Fprintf(c.out, "  %d waiting, %s of %s\n", s.Queue.Notifications,
		humanize.IBytes(s.Queue.Bytes), humanize.IBytes(uint64(max(s.Queue.MaxBytes, 0))))
	if s.Queue.Oldest != nil {
		fmt.Fprintf(c.out, "  the oldest for %s\n", time.Since(*s.Queue.Oldest).Round(time.Second))
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\ntarget\tstate\twaiting\tparked\tdead letters")
	for _, t := range s.Targets {
		state := "up"
		if !t.Up {
			state = "DOWN"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\n", t.Name, state, t.Waiting, t.Parked, t.DeadLetters)
	}
	return w.Flush()
}
