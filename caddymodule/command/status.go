// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

func statusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Shows what was accepted, what waits, and the state of the targets",
		Example: "  caddy dovecot-push status\n  caddy dovecot-push status --watch\n  caddy dovecot-push status --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			if watch {
				return c.watchStatus(cmd.Context(), watchInterval)
			}
			return c.showStatus()
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "Repeat every second, until Ctrl-C")
	return cmd
}

// watchInterval is how often the status is shown again.
const watchInterval = time.Second

func (c *client) showStatus() error {
	var status adminapi.Status
	if err := c.call(http.MethodGet, "status", nil, &status); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(status)
	}
	return c.printStatus(&status)
}

// watchStatus shows the status again and again, until ctx ends. A Caddy that
// does not answer may be starting: in the place of its status is why.
func (c *client) watchStatus(ctx context.Context, every time.Duration) error {
	screen := c.screen != nil && !c.json
	for {
		if screen {
			fmt.Fprint(c.screen, "\x1b[H\x1b[2J")
		}
		if err := c.showStatus(); err != nil {
			if err := c.printFailure(err); err != nil {
				return err // nobody reads it any more
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
		if !screen && !c.json {
			fmt.Fprintln(c.out)
		}
	}
}

func (c *client) printFailure(failure error) error {
	if c.json {
		return c.printJSON(map[string]string{"error": failure.Error()})
	}
	_, err := fmt.Fprintf(c.out, "Error: %v\n", failure)
	return err
}

func (c *client) printStatus(s *adminapi.Status) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	line("%s", s.Version)
	line("notifications since %s", s.Since.Local().Format(time.DateTime))
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
	if s.Queue.Durability != "" {
		line("  200 means %s: %s", s.Queue.Durability, s.Queue.DurabilityReason)
	}
	for _, p := range s.Queue.Problems {
		line("  PROBLEM: %s", p)
	}
	line("  %d waiting, %s of %s", s.Queue.Notifications,
		humanize.IBytes(s.Queue.Bytes), humanize.IBytes(uint64(max(s.Queue.MaxBytes, 0))))
	if s.Queue.Oldest != nil {
		line("  the oldest for %s", ageText(s.Queue.Oldest))
	}
	for _, r := range s.Queue.Removed {
		until := ""
		if r.Until != nil {
			until = ", until " + r.Until.Local().Format(time.DateTime)
		}
		line("  kept for the removed target %s: %d waiting, %d parked%s", r.Name, r.Waiting, r.Parked, until)
	}
	for _, e := range s.DoveAdm {
		if e.Up {
			line("doveadm %s in service", e.Endpoint)
		} else {
			line("doveadm %s OUT OF SERVICE for %s: %s", e.Endpoint, ageText(e.Since), e.Error)
		}
	}
	if r := s.Registration; r != nil {
		state := "works"
		if !r.Up {
			state = "DOES NOT WORK: " + r.Error
		}
		line("registration %s via %s %s", r.Users, r.Via, state)
		if r.Pass != nil {
			line("  %s", passText(r.Pass))
		}
	}
	if c := s.CatchUp; c != nil {
		line("%s", catchUpText(c))
		if c.Sweep != nil {
			line("  %s", sweepText(c.Sweep))
		}
	}
	if d := s.Devices; d != nil {
		line("devices %d, and %d unconfirmed", d.Confirmed, d.Unconfirmed)
	}
	if s.Streams != nil {
		line("event streams %d", *s.Streams)
	}
	if o := s.SignedOut; o != nil && o.Entries > 0 {
		line("signed out %d sessions, of %d users", o.Entries, o.Users)
	}
	line("")
	line("target\tstate\tdelivered\tfailed\tin flight\twaiting\tparked\tdead letters\toldest")
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
		line("%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s", t.Name, state, t.Attempts["delivered"], failed, t.InFlight, t.Waiting, t.Parked, t.DeadLetters, ageText(t.Oldest))
	}
	for _, t := range s.Targets {
		if f := t.LastFailure; f != nil {
			line("  %s: the last attempt, %s ago, failed: %s", t.Name, ageText(&f.Time), cmp.Or(f.Error, f.Reason))
		}
		if t.UnknownUsers > 0 {
			line("  %s: %d of the delivered ones are for users that are not <user id>@<context id>; Open-Xchange drops them. Does Dovecot's driver have user_from_metadata?", t.Name, t.UnknownUsers)
		}
	}
	return w.Flush()
}

// ageText is how long ago t was, to the second; - of nothing.
func ageText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return max(time.Since(*t), 0).Round(time.Second).String()
}

func passText(p *adminapi.RegistrationPass) string {
	states := make(map[string]uint64, len(p.States))
	for state, n := range p.States {
		states[state] = uint64(max(n, 0))
	}
	what := fmt.Sprintf("the last pass looked at %d users in %s", p.Done, p.Ended.Sub(p.Started).Round(time.Millisecond))
	switch {
	case p.Ended.IsZero():
		what = fmt.Sprintf("a pass has looked at %d of %d users for %s", p.Done, p.Users, ageText(&p.Started))
	case p.Error != "":
		what = fmt.Sprintf("the last pass ended after %d of %d users: %s", p.Done, p.Users, p.Error)
	}
	if len(states) == 0 {
		return what
	}
	return what + ": " + countsOf(states)
}

// countsOf writes counts in a fixed order: accepted 5, duplicate 1.
func countsOf(counts map[string]uint64) string {
	if len(counts) == 0 {
		return "nothing yet"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(parts, ", ")
}
