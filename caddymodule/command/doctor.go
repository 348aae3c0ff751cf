// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
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
	patient := doctor.Patient{
		Caddy:   doctor.Admin{Address: c.address, Ask: c.ask},
		Dovecot: func(ctx context.Context) (*doveconf.Config, error) { return f.config(ctx, cmd) },
		CAFile:  f.caFile, User: f.user, LMTP: f.deliver,
		Follow: func(subject, user string) (doctor.Following, error) {
			following, err := c.follow(f.wait, subject, user)
			return mailFollowing{following}, err
		},
	}
	if f.url != "" {
		var err error
		if patient.URL, err = endpointURL(f.url, f.passwordFile, cmd.InOrStdin()); err != nil {
			return nil, err
		}
	}
	return patient.Examine(ctx), nil
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

// mailFollowing shows the way of the notification of a mail that was sent. Where
// the findings are JSON, that goes to standard error.
type mailFollowing struct{ *following }

// Close implements io.Closer.
func (f mailFollowing) Close() error {
	f.close()
	return nil
}

// Wait implements doctor.Following.
func (f mailFollowing) Wait() error {
	if f.c.json {
		f.c = &client{json: true, out: os.Stderr}
	} else {
		fmt.Fprintf(f.c.out, "a mail was delivered, its notification:\n")
	}
	return f.show("")
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
