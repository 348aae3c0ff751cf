// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

// parseCatchUp reads what is done about mails that Dovecot could not report.
// Syntax:
//
//	catch_up {
//	    interval <duration>
//	    max      <n>
//	    seen
//	    appended
//	    off
//	}
func parseCatchUp(d *caddyfile.Dispenser) (*CatchUp, error) {
	c := new(CatchUp)
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	return c, option.Block(d, "catch_up",
		option.Duration("interval", &c.Interval),
		option.Count("max", &c.Max),
		option.Flag("seen", &c.Seen),
		option.Flag("appended", &c.Appended),
		option.Flag("off", &c.Off),
	)
}
