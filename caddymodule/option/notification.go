// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package option

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// Content reads how much of a mail is sent: thin, sender or full.
func Content(to *notification.Content) Option {
	return Option{Name: "content", Parse: func(d *caddyfile.Dispenser) error {
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

// Events reads names of events, or all.
func Events(to *[]string) Option {
	return Option{Name: "events", Parse: func(d *caddyfile.Dispenser) error {
		*to = d.RemainingArgs()
		if _, err := notification.ParseEvents(*to); err != nil || len(*to) == 0 {
			return d.Errf("events takes names of events, or all: %s", notification.AllEvents)
		}
		return nil
	}}
}
