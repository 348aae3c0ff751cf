// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/spf13/cobra"

	"github.com/dovecotpush/caddy-dovecot-push/internal/migrate"
)

func importCommand() *cobra.Command {
	var (
		apache     []string
		properties string
	)
	cmd := &cobra.Command{
		Use:   "import [--apache <file>]... [--properties <dir>]",
		Short: "Prints a Caddyfile that does what Apache and Open-Xchange were configured to do",
		Long: `
Reads the configuration of an Apache in front of the Open-Xchange middleware and
the properties of the middleware, and prints a Caddyfile that does the same: each
path that Apache proxies goes to the same nodes, for the same source addresses.
Every other path is answered with 404. Repeat --apache for files that do not
include each other.

Directives that could not be taken over are listed at the beginning, with file
and line. A directive that must be understood and is not is an error. The
Caddyfile is loaded before it is printed. The command changes nothing and prints
no secret.`,
		Example: `  caddy dovecot-push import --apache /etc/apache2/apache2.conf \
    --properties /opt/open-xchange/etc > Caddyfile`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(apache) == 0 && properties == "" {
				return errors.New("give --apache, --properties or both")
			}
			source := new(migrate.Source)
			if len(apache) > 0 {
				if err := source.ReadApache(apache...); err != nil {
					return fmt.Errorf("--apache: %w", err)
				}
			}
			if properties != "" {
				if err := source.ReadProperties(os.DirFS(properties)); err != nil {
					return fmt.Errorf("--properties: %s: %w", properties, err)
				}
			}
			var caddyfile bytes.Buffer
			if err := source.Write(&caddyfile); err != nil {
				return err
			}
			if err := loads(caddyfile.Bytes()); err != nil {
				return fmt.Errorf("the resulting Caddyfile does not load: %w", err)
			}
			_, err := cmd.OutOrStdout().Write(caddyfile.Bytes())
			return err
		},
	}
	cmd.Flags().StringArrayVar(&apache, "apache", nil, "A file of Apache's configuration; may be repeated")
	cmd.Flags().StringVar(&properties, "properties", "", "The directory of the middleware's .properties files, /opt/open-xchange/etc")
	return cmd
}

// variables are those of the environment in a Caddyfile.
var variables = regexp.MustCompile(`\{env\.(\w+)\}`)

// loads adapts and validates a Caddyfile. The secrets in it need not be set yet,
// and nothing is kept of what Caddy makes meanwhile.
func loads(caddyfile []byte) error {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(caddyfile, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "caddy-import")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, m := range variables.FindAllSubmatch(caddyfile, -1) {
		if name := string(m[1]); os.Getenv(name) == "" {
			if err := os.Setenv(name, "to-be-set"); err != nil {
				return err
			}
		}
	}
	cfg := new(caddy.Config)
	if err := json.Unmarshal(config, cfg); err != nil {
		return err
	}
	cfg.StorageRaw = caddyconfig.JSONModuleObject(map[string]string{"root": dir}, "module", "file_system", nil)
	cfg.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		caddy.DefaultLoggerName: {BaseLog: caddy.BaseLog{Level: "ERROR"}},
	}}
	return caddy.Validate(cfg)
}
