// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

// options are the options of every block with an access rule.
func (a *Access) options() []option.Option {
	return []option.Option{
		{Name: "allow", Repeat: true, Parse: func(d *caddyfile.Dispenser) error {
			networks := d.RemainingArgs()
			if len(networks) == 0 {
				return d.ArgErr()
			}
			a.Allow = append(a.Allow, networks...)
			return nil
		}},
		{Name: "allow_source", Repeat: true, Parse: func(d *caddyfile.Dispenser) error {
			if !d.NextArg() {
				return d.Err("allow_source needs the name of a module, such as: allow_source static 10.0.0.0/8")
			}
			name := d.Val()
			unm, err := caddyfile.UnmarshalModule(d, "http.ip_sources."+name)
			if err != nil {
				return err
			}
			source, ok := unm.(caddyhttp.IPRangeSource)
			if !ok {
				return d.Errf("module http.ip_sources.%s is not a source of networks: %T", name, unm)
			}
			a.AllowSourcesRaw = append(a.AllowSourcesRaw, caddyconfig.JSONModuleObject(source, "source", name, nil))
			return nil
		}},
		option.Flag("client_ip", &a.ClientIP),
	}
}
