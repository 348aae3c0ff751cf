// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

// parseRegister reads who is registered. Syntax:
//
//	register on_subscribe|all|off {
//	    via         doveadm|imap
//	    value       <template>
//	    lookup_file <path>
//	    interval    <duration>
//	    grace       <duration>
//	    concurrency <n>
//	    rate        <users per second>
//	    takeover
//	}
func parseRegister(d *caddyfile.Dispenser) (*Register, error) {
	r := new(Register)
	if !d.AllArgs(&r.Users) {
		return nil, d.Err("register needs to know who is registered: on_subscribe, all or off")
	}
	switch r.Users {
	case "on_subscribe", "all", "off":
	default:
		return nil, d.Errf("register does not know %q; it knows: on_subscribe, all, off", r.Users)
	}
	return r, option.Block(d, "register",
		option.String("via", &r.Via),
		option.String("value", &r.Value),
		option.String("lookup_file", &r.LookupFile),
		option.Duration("interval", &r.Interval),
		option.Duration("grace", &r.Grace),
		option.Count("concurrency", &r.Concurrency),
		option.Count("rate", &r.Rate),
		option.Flag("takeover", &r.Takeover),
	)
}
