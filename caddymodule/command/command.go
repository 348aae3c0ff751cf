// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package command is the command line: caddy dovecot-push. It is a client of the
// admin API of a running Caddy, and imports nothing of the app. Import it for its
// side effects.
package command

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "dovecot-push",
		Short: "Manages the notifications of Dovecot in a running Caddy",
		Long: `
Shows and manages the notifications that a running Caddy has accepted from
Dovecot. It uses Caddy's admin API at the address of the flag --address, else
of the configuration given with --config, else at localhost:2019.`,
		CobraFunc: build,
	})
}

// build adds the flags that all sub-commands share, and the sub-commands.
func build(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.String("address", "", "The address of the admin API, such as localhost:2019 or unix//run/caddy-admin.sock")
	flags.StringP("config", "c", "", "The configuration file that sets the address")
	flags.String("adapter", "", "The configuration adapter of that file")
	flags.Bool("json", false, "Print JSON")
	for _, sub := range commands {
		cmd.AddCommand(sub())
	}
	onlySubCommands(cmd)
}

// onlySubCommands makes cmd print its help, and refuse unknown sub-commands: a
// script with a typo must not succeed.
func onlySubCommands(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// commands make the sub-commands, each of which is in a file of its own.
var commands = []func() *cobra.Command{
	statusCommand,
	doctorCommand,
	sendTestCommand,
	registerCommand,
	unregisterCommand,
	registrationsCommand,
	catchUpCommand,
	subscriptionsCommand,
	deadLettersCommand,
	replayCommand,
	targetsCommand,
	keysCommand,
	vapidCommand,
	dovecotConfigCommand,
	importCommand,
	versionCommand,
}
