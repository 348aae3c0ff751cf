// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

// usersAtOnce is how many users one request to the admin API names.
const usersAtOnce = 5000

func registerCommand() *cobra.Command {
	return changeCommand("register", &cobra.Command{
		Use:   "register <user>...|--all",
		Short: "Makes Dovecot notify for users",
		Long: `
Registers users in Dovecot, regardless of the option register of the Caddyfile,
and keeps them registered. --all means every user that Dovecot lists.

The exit status is 1 if a user could not be registered. Failed users are
retried, except those unknown to Dovecot.`,
		Example: "  caddy dovecot-push register alice@example.com bob@example.com\n  caddy dovecot-push register --all",
	})
}

func unregisterCommand() *cobra.Command {
	return changeCommand("unregister", &cobra.Command{
		Use:   "unregister <user>...|--all",
		Short: "Makes Dovecot stop notifying for users",
		Long: `
Removes the registration of users in Dovecot. They stay unregistered until
"register", even if "register all" or a device would register them. --all means
every user with a stored state. An entry that something else has set is not
changed.

The exit status is 1 if a user could not be unregistered.`,
		Example: "  caddy dovecot-push unregister alice@example.com",
	})
}

// changeCommand is what both have in common.
func changeCommand(action string, cmd *cobra.Command) *cobra.Command {
	var all, takeover bool
	cmd.Args = usersOrAll(&all)
	cmd.RunE = func(cmd *cobra.Command, users []string) error {
		c, err := newClient(cmd)
		if err != nil {
			return err
		}
		cmd.SilenceUsage = true
		run := newManyRun(c, cmd.ErrOrStderr(), action)
		if all {
			err = run.request(adminapi.RegistrationsChange{Action: action, All: true, Takeover: takeover})
		} else {
			run.total = len(users)
			for some := range slices.Chunk(users, usersAtOnce) {
				if err = run.request(adminapi.RegistrationsChange{Action: action, Users: some, Takeover: takeover}); err != nil {
					break
				}
			}
		}
		return run.end(err)
	}
	cmd.Flags().BoolVar(&all, "all", false, "All users")
	if action == "register" {
		cmd.Flags().BoolVar(&takeover, "takeover", false, "Overwrite entries that something else has set")
	}
	return cmd
}

func usersOrAll(all *bool) cobra.PositionalArgs {
	return func(_ *cobra.Command, users []string) error {
		if *all == (len(users) > 0) {
			return errors.New("give users, or --all")
		}
		if slices.Contains(users, "") {
			return errors.New("a user has no name")
		}
		return nil
	}
}

func registrationsCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "registrations <user>...|--all",
		Short: "Shows the registration of users in Dovecot",
		Long: `
Shows whether users are registered in Dovecot, and why not. For named users it
also shows the METADATA entry in Dovecot. --all means every user with a stored
state.

The exit status is 1 if a user is in conflict, failed or unknown to Dovecot.`,
		Example: "  caddy dovecot-push registrations alice@example.com\n  caddy dovecot-push registrations --all --json",
		Args:    usersOrAll(&all),
		RunE: func(cmd *cobra.Command, users []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			cmd.SilenceUsage = true
			registrations, err := c.registrations(users)
			if err != nil {
				return err
			}
			slices.SortFunc(registrations, func(a, b adminapi.Registration) int { return strings.Compare(a.User, b.User) })
			if c.json {
				err = c.printJSON(registrations)
			} else {
				err = c.printRegistrations(registrations)
			}
			failed := slices.ContainsFunc(registrations, func(r adminapi.Registration) bool {
				return r.Error != "" || r.Reason != "" && r.Reason != adminapi.ReasonNeedsLogin
			})
			if err == nil && failed {
				err = errors.New("some users could not be registered")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "All users with a stored state")
	return cmd
}

// registrations asks about users, or about all.
func (c *client) registrations(users []string) ([]adminapi.Registration, error) {
	registrations := make([]adminapi.Registration, 0, len(users))
	if len(users) == 0 {
		err := c.callLines(http.MethodGet, "registrations", nil, func(line json.RawMessage) error {
			var reg struct {
				adminapi.Registration
				Error string `json:"error"`
			}
			if err := json.Unmarshal(line, &reg); err != nil {
				return err
			}
			if reg.User == "" {
				return errors.New(reg.Error)
			}
			registrations = append(registrations, reg.Registration)
			return nil
		})
		return registrations, err
	}
	for _, user := range users {
		var reg adminapi.Registration
		if err := c.call(http.MethodGet, "registrations?user="+url.QueryEscape(user), nil, &reg); err != nil {
			return nil, err
		}
		registrations = append(registrations, reg)
	}
	return registrations, nil
}

func (c *client) printRegistrations(registrations []adminapi.Registration) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "user\tstate\tsince\tbecause\tentry")
	for _, r := range registrations {
		since := ""
		if !r.Since.IsZero() {
			since = r.Since.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.User, r.State, since, because(&r), entryText(&r))
	}
	return w.Flush()
}

// because tells why a user is as it is.
func because(r *adminapi.Registration) string {
	switch {
	case r.Error != "":
		return r.Error
	case r.Reason != "":
		return r.Reason
	case r.ByHand != "":
		return r.ByHand + " by hand"
	case r.Subscribed:
		return "has devices"
	case !r.Until.IsZero():
		return "had devices, until " + r.Until.Local().Format(time.DateTime)
	default:
		return ""
	}
}

func entryText(r *adminapi.Registration) string {
	switch {
	case r.Value == nil:
		return ""
	case *r.Value == "":
		return "none"
	default:
		return fmt.Sprintf("%q", *r.Value)
	}
}
