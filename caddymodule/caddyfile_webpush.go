// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
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
		return d.Err("deliver webpush has no name: there is one, for all devices")
	}
	return parseBlock(d, "deliver webpush",
		stringOption("contact", &w.Contact),
		contentOption(&w.Content),
		durationOption("ttl", &w.TTL),
		listOption("allow_endpoints", &w.AllowEndpoints),
	)
}

// contentOption reads how much of a mail is told.
func contentOption(to *notification.Content) option {
	return option{name: "content", parse: func(d *caddyfile.Dispenser) error {
		var s string
		if !d.AllArgs(&s) {
			return d.ArgErr()
		}
		if *to = notification.Content(s); !to.Valid() {
			return d.Errf("content must be thin, sender or full, not %q", s)
		}
		return nil
	}}
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Webpush)(nil)
