// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

// UnmarshalCaddyfile reads the block of deliver webpush. Syntax:
//
//	deliver webpush {
//	    contact         <mailto:address|https-url>
//	    content         thin|sender|full
//	    ttl             <duration>
//	    allow_endpoints <networks, hosts or URLs...>
//	}
func (w *Webpush) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the kind of the target
	if d.NextArg() {
		return d.Err("deliver webpush takes no name: there is one for all devices")
	}
	return option.Block(d, "deliver webpush",
		option.String("contact", &w.Contact),
		option.Content(&w.Content),
		option.Duration("ttl", &w.TTL),
		option.List("allow_endpoints", &w.AllowEndpoints),
	)
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Webpush)(nil)
