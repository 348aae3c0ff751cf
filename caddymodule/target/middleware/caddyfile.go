// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package middleware

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

// UnmarshalCaddyfile reads the block of deliver middleware. Syntax:
//
//	deliver middleware [<name>] {
//	    path          <path>
//	    credentials   <user> <password>
//	    open_xchange
//	    reverse_proxy <upstreams...> {
//	        # every option of Caddy's reverse_proxy but handle_response
//	    }
//	}
func (m *Middleware) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the kind of the target
	if d.NextArg() {
		m.Name = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	err := option.Block(d, "deliver middleware",
		option.String("path", &m.Path),
		option.Pair("credentials", false, func(u, p string) { m.Username, m.Password = u, p }),
		option.Flag("open_xchange", &m.OpenXchange),
		option.Option{Name: "reverse_proxy", Parse: func(d *caddyfile.Dispenser) error {
			segment := d.NextSegment()
			// The answer goes nowhere, and parsing routes takes a site block.
			for scan := caddyfile.NewDispenser(segment); scan.Next(); {
				if scan.Val() == "handle_response" {
					return scan.Err("handle_response cannot be used here: nobody gets the response")
				}
			}
			proxy := new(reverseproxy.Handler)
			if err := proxy.UnmarshalCaddyfile(caddyfile.NewDispenser(segment)); err != nil {
				return err
			}
			if err := proxy.FinalizeUnmarshalCaddyfile(httpcaddyfile.Helper{Dispenser: d}); err != nil {
				return err
			}
			m.ReverseProxyRaw = caddyconfig.JSONModuleObject(proxy, "handler", "reverse_proxy", nil)
			return nil
		}},
	)
	if err != nil {
		return err
	}
	if m.ReverseProxyRaw == nil {
		return d.Err("deliver middleware needs reverse_proxy with the nodes of the middleware, such as: reverse_proxy ox1:8009 ox2:8009")
	}
	return nil
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Middleware)(nil)
