// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

func sendTestCommand() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "send-test <user>",
		Short: "Sends a test notification for a user and shows what happens to it",
		Long: `
Accepts a made-up notification, as if Dovecot had sent it, and shows each step
until every target is done with it. It goes to all targets: the devices of the
user show it. The exit status is 1 if a target did not deliver it in time, if no
target wants it, or if Dovecot does not know the user, where it can be asked.`,
		Example: "  caddy dovecot-push send-test alice@example.com",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			f, err := c.follow(wait, "", args[0])
			if err != nil {
				return err
			}
			defer f.close()
			var test struct{ ID string }
			if err := c.call(http.MethodPost, "test", map[string]string{"user": args[0]}, &test); err != nil {
				return err
			}
			return f.show(test.ID)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", adminapi.FollowTime, "How long to wait for the targets")
	return cmd
}

// errNotDelivered is what following ends with when a target was not reached.
var errNotDelivered = errors.New("not every target has delivered it")

// errNobodyWants is what following ends with when all targets skipped it.
var errNobodyWants = errors.New("no target wants it: nothing is configured for this user, and the user has no device")

// errReloaded is what following ends with when the configuration is replaced.
var errReloaded = errors.New("the configuration was replaced or Caddy was stopped in the meantime: run this again")

// following is a stream of steps.
type following struct {
	c       *client
	body    io.ReadCloser
	steps   *json.Decoder
	start   time.Time
	targets map[string]bool // whether each has delivered
	taken   bool            // by one, which did not skip it
	open    int             // targets that are not done
}

// follow begins to watch the notifications of a user, and those of the mail with
// a subject if it is not empty: what happens after it has returned is not
// missed.
func (c *client) follow(wait time.Duration, subject, user string) (*following, error) {
	query := url.Values{"user": {user}, "time": {wait.String()}}
	if subject != "" {
		query.Set("subject", subject)
	}
	path := "follow?" + query.Encode()
	resp, err := c.request(http.MethodGet, path, nil) //nolint:bodyclose // following.close does it
	if err != nil {
		return nil, err
	}
	f := &following{c: c, body: resp.Body, steps: json.NewDecoder(resp.Body), targets: make(map[string]bool)}
	var first adminapi.Step
	if err := f.steps.Decode(&first); err != nil {
		f.close()
		return nil, fmt.Errorf("reading the answer of the admin API: %w", err)
	}
	f.start = time.Now()
	for _, target := range first.Targets {
		f.targets[target] = false
	}
	f.open = len(f.targets)
	return f, nil
}

func (f *following) close() { _ = f.body.Close() }

// show prints the steps of one notification, or of the first one that comes
// if id is empty, until all targets are done with it.
func (f *following) show(id string) error {
	for f.open > 0 || id == "" {
		var step adminapi.Step
		err := f.steps.Decode(&step)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return f.end(id)
		case err != nil:
			return fmt.Errorf("reading the answer of the admin API: %w", err)
		}
		if step.What == "reloaded" {
			return errReloaded
		}
		if id == "" {
			id = step.ID
		}
		if step.ID != id {
			continue
		}
		if err := f.print(&step); err != nil {
			return err
		}
		if step.What == "not_stored" {
			return errNotDelivered
		}
		if step.Final() {
			f.open--
			f.taken = f.taken || step.What != "skipped"
			f.targets[step.Target] = step.What != "dead_letter"
		}
	}
	return f.end(id)
}

func (f *following) print(step *adminapi.Step) error {
	if f.c.json {
		return json.NewEncoder(f.c.out).Encode(step)
	}
	where := "queue"
	if step.Target != "" {
		where = step.Target
	}
	line := fmt.Sprintf("%8s  %-16s %s", step.Time.Sub(f.start).Round(time.Millisecond), where, step.What)
	if step.Milliseconds > 0 {
		line += fmt.Sprintf(" (%.1f ms)", step.Milliseconds)
	}
	if step.Reason != "" {
		line += ": " + step.Reason
	}
	_, err := fmt.Fprintln(f.c.out, line)
	return err
}

func (f *following) end(id string) error {
	if id == "" {
		return errors.New("no notification arrived in time")
	}
	if len(f.targets) == 0 && !f.c.json {
		fmt.Fprintln(f.c.out, "no target is configured: it is not delivered")
	}
	for target, delivered := range f.targets {
		if !delivered {
			return fmt.Errorf("%w: %s has not (caddy dovecot-push status tells how it is)", errNotDelivered, target)
		}
	}
	if len(f.targets) > 0 && !f.taken {
		return errNobodyWants
	}
	return nil
}
