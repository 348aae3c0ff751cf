// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/dovecotpush/caddy-dovecot-push/internal/migrate"
)

func importCommand() *cobra.Command {
	var apache, properties string
	cmd := &cobra.Command{
		Use:   "import [--apache <file>] [--properties <dir>]",
		Short: "Prints a Caddyfile for what Apache and Open-Xchange were configured to do",
		Long: `
Reads the <Location /preliminary> block of an Apache in front of the Open-Xchange
middleware, with the balancer behind it, and the properties of the middleware,
and prints the Caddyfile that does the same. What could not be taken over stands
at its beginning. Nothing is changed anywhere, and no secret is printed.`,
		Example: `  caddy dovecot-push import --apache /etc/apache2/sites-enabled/open-xchange.conf \
    --properties /opt/open-xchange/etc > Caddyfile`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if apache == "" && properties == "" {
				return errors.New("give --apache, --properties or both")
			}
			source := new(migrate.Source)
			if apache != "" {
				file, err := os.Open(apache)
				if err != nil {
					return fmt.Errorf("--apache: %w", err)
				}
				defer file.Close()
				if err := source.ReadApache(apache, file); err != nil {
					return fmt.Errorf("--apache: %s: %w", apache, err)
				}
			}
			if properties != "" {
				if err := source.ReadProperties(os.DirFS(properties)); err != nil {
					return fmt.Errorf("--properties: %s: %w", properties, err)
				}
			}
			return source.Write(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&apache, "apache", "", "The file with the Location block")
	cmd.Flags().StringVar(&properties, "properties", "", "The directory of the middleware's .properties files, /opt/open-xchange/etc")
	return cmd
}
