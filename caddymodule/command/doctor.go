// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/doctor"
	"github.com/dovecotpush/caddy-dovecot-push/internal/doveconf"
)

// doctorFlags are the flags of doctor.
type doctorFlags struct {
	dovecot, doveconf string
	url, passwordFile string
	caFile, user      string
	deliver           string
	wait              time.Duration
}

func doctorCommand() *cobra.Command {
	f := new(doctorFlags)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Finds out why no push arrives",
		Long: `
Checks the running Caddy, the Dovecot on this machine and the connection between
them. For each problem it says what was tried, the result and what to change. Run
it as root on the machine of Dovecot: it reads Dovecot's configuration with
doveconf, including secrets, and shows none of them. If Dovecot is on another
machine, pass the output of "doveconf -n -P" there with --doveconf.

With --deliver it sends a real mail by LMTP and traces its notification to all
targets.

The exit status is 1 if there is a problem.`,
		Example: `  caddy dovecot-push doctor
  caddy dovecot-push doctor --user alice@example.com --deliver 127.0.0.1:24
  ssh imap1 doveconf -n -P | caddy dovecot-push doctor --doveconf -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			findings, err := f.run(cmd, c)
			if err != nil {
				return err
			}
			if err := c.printFindings(findings); err != nil {
				return err
			}
			if doctor.Worst(findings) == doctor.Problem {
				return errors.New("there are problems")
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dovecot, "dovecot", "", "Dovecot's configuration file, if it is not the default one")
	flags.StringVar(&f.doveconf, "doveconf", "", "A file with the output of \"doveconf -n -P\" (- is standard input)")
	flags.StringVar(&f.url, "url", "", "The URL of the notify endpoint, with the user name, if there is no Dovecot to read it from")
	flags.StringVar(&f.passwordFile, "password-file", "", "The file with the password for --url")
	flags.StringVar(&f.caFile, "ca-file", "", "The CA of the endpoint for --url")
	flags.StringVar(&f.user, "user", "", "Check whether this user is registered")
	flags.StringVar(&f.deliver, "deliver", "", "Send a mail to --user by LMTP to this address, host:port or the path of a socket")
	flags.DurationVar(&f.wait, "wait", adminapi.FollowTime, "How long to wait for the mail's notification")
	return cmd
}

func (f *doctorFlags) run(cmd *cobra.Command, c *client) ([]doctor.Finding, error) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	if f.deliver != "" && f.user == "" {
		return nil, errors.New("--deliver needs --user, whose mailbox the mail goes to")
	}
	findings, status := doctor.Caddy(doctor.Admin{Address: c.address, Ask: c.ask}, f.user)
	var want doctor.Wanted
	instance := ""
	if status != nil {
		want, instance = doctor.WantedBy(status), status.Instance
	}
	want.User = f.user
	config, err := f.config(ctx, cmd)
	switch {
	case errors.Is(err, doveconf.ErrNotInstalled):
		findings = append(findings, doctor.Finding{
			Check: "dovecot", Status: doctor.Skipped, Tried: "doveconf", Got: err.Error(),
			Fix: "Run it where Dovecot is, or give what \"doveconf -n -P\" prints there with --doveconf.",
		})
	case errors.Is(err, doveconf.ErrNotPermitted):
		findings = append(findings, doctor.Finding{
			Check: "dovecot", Status: doctor.Skipped, Tried: "doveconf", Got: err.Error(), Fix: "Run the doctor as root: sudo caddy dovecot-push doctor",
		})
	case err != nil:
		findings = append(findings, doctor.Finding{
			Check: "dovecot", Status: doctor.Problem, Tried: "doveconf", Got: err.Error(),
			Fix: "Mend Dovecot's configuration: it cannot start with it.",
		})
	default:
		findings = append(findings, doctor.Dovecot(config, want)...)
		for _, d := range doctor.Drivers(config, want) {
			u, _ := d.URL(cmp.Or(f.user, "doctor@example.com"))
			findings = append(findings, doctor.Endpoint(ctx, doctor.Way{URL: u, TLS: d.Client, Elsewhere: !config.Local, Instance: instance})...)
		}
	}
	if f.url != "" {
		u, err := endpointURL(f.url, f.passwordFile, cmd.InOrStdin())
		if err != nil {
			return findings, err
		}
		findings = append(findings, doctor.Endpoint(ctx, doctor.Way{URL: u.String(), TLS: doveconf.Client{CAFile: f.caFile}, Instance: instance})...)
	}
	if f.deliver != "" {
		found, err := f.deliverMail(c)
		if err != nil {
			return findings, err
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

// config is that of Dovecot.
func (f *doctorFlags) config(ctx context.Context, cmd *cobra.Command) (*doveconf.Config, error) {
	if f.doveconf == "" {
		return doveconf.Run(ctx, f.dovecot)
	}
	text, err := readSecretFile(f.doveconf, cmd.InOrStdin())
	if err != nil {
		return nil, fmt.Errorf("--doveconf: %w", err)
	}
	return doveconf.Parse(text)
}

// deliverMail sends a mail and follows its notification, by whatever name it is
// reported: with user_from_metadata that is what the METADATA entry says. A
// script may report no subject: then it is known by the login.
func (f *doctorFlags) deliverMail(c *client) ([]doctor.Finding, error) {
	subject := doctor.TestSubject()
	following, err := c.follow(f.wait, subject, f.user)
	if err != nil {
		return []doctor.Finding{{
			Check: "deliver", Status: doctor.Skipped, Tried: "to follow a notification", Got: err.Error(), Fix: "Mend what is said of Caddy first. No mail was sent.",
		}}, nil
	}
	defer following.close()
	finding := doctor.Deliver(f.deliver, f.user, subject)
	if finding.Status != doctor.OK {
		return []doctor.Finding{finding}, nil
	}
	if !c.json {
		fmt.Fprintf(c.out, "a mail was delivered, its notification:\n")
	} else {
		following.c = &client{json: true, out: os.Stderr}
	}
	seen := doctor.Finding{Check: "deliver", Status: doctor.OK, Tried: "its notification", Got: "every target has it"}
	if err := following.show(""); err != nil {
		seen.Status, seen.Got = doctor.Problem, err.Error()
		seen.Fix = "See what else was found: is the user registered, is the plugin loaded, does the driver reach the endpoint? Dovecot's log says \"Error when sending notification\" if it tried."
	}
	return []doctor.Finding{finding, seen}, nil
}

func (c *client) printFindings(findings []doctor.Finding) error {
	if c.json {
		return c.printJSON(findings)
	}
	counts := make(map[doctor.Status]int)
	for _, f := range findings {
		counts[f.Status]++
		fmt.Fprintf(c.out, "%-8s %s: %s: %s\n", strings.ToUpper(string(f.Status)), f.Check, f.Tried, f.Got)
		if f.Fix != "" {
			fmt.Fprintf(c.out, "         -> %s\n", f.Fix)
		}
	}
	_, err := fmt.Fprintf(c.out, "\n%d ok, %d warnings, %d problems, %d skipped\n",
		counts[doctor.OK], counts[doctor.Warning], counts[doctor.Problem], counts[doctor.Skipped])
	return err
}
