// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// parseIMAP reads the IMAP server. Syntax:
//
//	imap <url> {
//	    master_user <name> <password>
//	    ca_file     <pem>
//	    plaintext
//	}
func parseIMAP(d *caddyfile.Dispenser) (*IMAP, error) {
	i := new(IMAP)
	if !d.AllArgs(&i.URL) {
		return nil, d.Err("imap needs the URL of the IMAP server, such as imaps://imap.example.com")
	}
	return i, parseBlock(d, "imap",
		pairOption("master_user", false, func(u, p string) { i.MasterUser, i.MasterPassword = u, p }),
		stringOption("ca_file", &i.CAFile),
		flagOption("plaintext", &i.Plaintext),
	)
}

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
	return r, parseBlock(d, "register",
		stringOption("via", &r.Via),
		stringOption("value", &r.Value),
		stringOption("lookup_file", &r.LookupFile),
		durationOption("interval", &r.Interval),
		durationOption("grace", &r.Grace),
		countOption("concurrency", &r.Concurrency),
		countOption("rate", &r.Rate),
		flagOption("takeover", &r.Takeover),
	)
}

// countOption is a number of things, of which there is at least one.
func countOption(name string, to *int) option {
	return option{name: name, parse: func(d *caddyfile.Dispenser) error {
		if err := intOption(name, to).parse(d); err != nil {
			return err
		}
		if *to < 1 {
			return d.Errf("%s must be at least 1", name)
		}
		return nil
	}}
}
