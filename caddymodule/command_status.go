// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Shows what came in, what waits, and how the targets are",
		Example: "  caddy dovecot-push status\n  caddy dovecot-push status --watch\n  caddy dovecot-push status --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			for {
				var status Status
				if err := c.call(http.MethodGet, "status", nil, &status); err != nil {
					return err
				}
				switch {
				case c.json:
					err = c.printJSON(status)
				case watch:
					fmt.Fprint(c.out, "\x1b[H\x1b[2J") // a screen of its own each time
					err = c.printStatus(&status)
				default:
					err = c.printStatus(&status)
				}
				if err != nil || !watch {
					return err
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(watchInterval):
				}
			}
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "Show it again every second, until Ctrl-C")
	return cmd
}

// watchInterval is how often the status is shown again.
const watchInterval = time.Second

func (c *client) printStatus(s *Status) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	line("notifications since %s", s.Since.Format(time.DateTime))
	for _, e := range s.Endpoints {
		line("  endpoint %s %s", strings.Join(e.Listen, " "), e.Path)
	}
	line("  %s", countsOf(s.Requests))
	if len(s.Refused) > 0 {
		line("  refused by the guard: %s", countsOf(s.Refused))
	}
	state := "takes notifications"
	if !s.Queue.Up {
		state = "CANNOT STORE: " + s.Queue.Error
	}
	line("queue %s", state)
	line("  %d waiting, %s of %s", s.Queue.Notifications,
		humanize.IBytes(s.Queue.Bytes), humanize.IBytes(uint64(max(s.Queue.MaxBytes, 0))))
	if s.Queue.Oldest != nil {
		line("  the oldest for %s", time.Since(*s.Queue.Oldest).Round(time.Second))
	}
	for _, e := range s.DoveAdm {
		if e.Up {
			line("doveadm %s in service", e.Endpoint)
		} else {
			line("doveadm %s OUT OF SERVICE for %s: %s", e.Endpoint, time.Since(*e.Since).Round(time.Second), e.Error)
		}
	}
	line("")
	line("target\tstate\tdelivered\tfailed\tin flight\twaiting\tparked\tdead letters")
	for _, t := range s.Targets {
		state := "up"
		if !t.Up {
			state = "DOWN"
		}
		var failed uint64
		for outcome, n := range t.Attempts {
			if outcome != "delivered" {
				failed += n
			}
		}
		line("%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d", t.Name, state, t.Attempts["delivered"], failed, t.InFlight, t.Waiting, t.Parked, t.DeadLetters)
	}
	return w.Flush()
}

// countsOf writes counts in a fixed order: accepted 5, duplicate 1.
func countsOf(counts map[string]uint64) string {
	if len(counts) == 0 {
		return "nothing so far"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(parts, ", ")
}
