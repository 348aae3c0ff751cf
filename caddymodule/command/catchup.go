// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

func catchUpCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "catch-up <user>...|--all",
		Short: "Finds new mails that Dovecot did not report",
		Long: `
Compares the INBOX of registered users with what Dovecot reported, and accepts
notifications of the mails that are missing. Caddy does the same when it starts,
every interval of catch_up, and after an outage.

The exit status is 1 if it could not be done for all of the users.`,
		Example: "  caddy dovecot-push catch-up alice@example.com\n  caddy dovecot-push catch-up --all",
		Args:    usersOrAll(&all),
		RunE: func(cmd *cobra.Command, users []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			cmd.SilenceUsage = true
			return c.catchUp(adminapi.CatchUpRequest{Users: users, All: all}, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "All users that are registered")
	return cmd
}

// catchUp sweeps and shows how far it is: on a terminal in one line, else not at
// all.
func (c *client) catchUp(request adminapi.CatchUpRequest, stderr io.Writer) error {
	file, ok := stderr.(*os.File)
	shows := ok && isTerminal(file) && !c.json
	var sweep adminapi.CatchUpSweep
	err := c.callLines(http.MethodPost, "catch_up", request, func(raw json.RawMessage) error {
		var line adminapi.CatchUpSweep
		if err := json.Unmarshal(raw, &line); err != nil {
			return err
		}
		if line.Started.IsZero() && line.Error != "" {
			return errors.New(line.Error)
		}
		sweep = line
		if shows {
			fmt.Fprintf(stderr, "\r\x1b[K%d of %d users, %d behind, %d found", line.Done, line.Users, line.Behind, line.Found)
		}
		return nil
	})
	if shows {
		fmt.Fprintln(stderr)
	}
	if err != nil {
		return err
	}
	if c.json {
		err = c.printJSON(sweep)
	} else {
		_, err = fmt.Fprintf(c.out, "catch-up: %s\n", sweepText(&sweep))
	}
	switch {
	case err != nil:
		return err
	case sweep.Error != "":
		return errors.New(sweep.Error)
	case sweep.Failed > 0:
		return fmt.Errorf("catch-up: %d of %d users failed", sweep.Failed, sweep.Users)
	case len(request.Users) > 0 && sweep.Users < len(request.Users):
		return fmt.Errorf("catch-up: %d of %d users are not registered", len(request.Users)-sweep.Users, len(request.Users))
	}
	return nil
}

// sweepText returns the result of a sweep in a line.
func sweepText(s *adminapi.CatchUpSweep) string {
	took := "since " + s.Started.Local().Format(time.DateTime)
	if !s.Ended.IsZero() {
		took = "in " + s.Ended.Sub(s.Started).Round(10*time.Millisecond).String()
	}
	text := fmt.Sprintf("%d of %d users looked at %s, %d of them behind, %d notifications found", s.Done, s.Users, took, s.Behind, s.Found)
	if s.Waiting > 0 {
		text += fmt.Sprintf(", %d users still to be served", s.Waiting)
	}
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d users failed", s.Failed)
	}
	var left []string
	for _, reason := range slices.Sorted(maps.Keys(s.LeftOut)) {
		left = append(left, fmt.Sprintf("%s %d", reason, s.LeftOut[reason]))
	}
	if len(left) > 0 {
		text += "; not told: " + strings.Join(left, ", ")
	}
	return text
}

// catchUpText returns the state of the catch-up.
func catchUpText(c *adminapi.CatchUpStatus) string {
	switch {
	case c.Off != "":
		return c.Off
	case c.Error != "":
		return "catch-up DOES NOT WORK: " + c.Error
	case !c.Leads:
		return "catch-up is done by another Caddy that shares the queue"
	case c.Last == nil:
		return "catch-up via " + c.Via + ", no sweep has ended yet"
	default:
		return "catch-up via " + c.Via + ", the last sweep ended " + ageText(c.Last) + " ago"
	}
}
