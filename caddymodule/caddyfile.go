// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("dovecot_push", parseApp)
	// The guard runs after everything that rewrites the path and before
	// everything that could answer; the endpoint before handle blocks, which
	// would keep requests from it.
	httpcaddyfile.RegisterDirective("dovecot_push_guard", parseGuard)
	httpcaddyfile.RegisterDirectiveOrder("dovecot_push_guard", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirective("dovecot_push_notify", parseNotify)
	httpcaddyfile.RegisterDirectiveOrder("dovecot_push_notify", httpcaddyfile.Before, "invoke")
	// After everything that authenticates, and before whatever answers.
	httpcaddyfile.RegisterDirective("dovecot_push_api", parseAPI)
	httpcaddyfile.RegisterDirectiveOrder("dovecot_push_api", httpcaddyfile.Before, "invoke")
}

// option is one option of a block. parse is called with the dispenser on the
// name of the option.
type option struct {
	name   string
	repeat bool
	parse  func(d *caddyfile.Dispenser) error
}

// parseBlock reads a block of options. An option that is not known, and one
// that is repeated without being made for it, are errors.
func parseBlock(d *caddyfile.Dispenser, in string, options ...option) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		var found *option
		for i := range options {
			if options[i].name == name {
				found = &options[i]
			}
		}
		if found == nil {
			names := make([]string, len(options))
			for i := range options {
				names[i] = options[i].name
			}
			return d.Errf("%s does not know the option %q; it knows: %s", in, name, strings.Join(names, ", "))
		}
		if seen[name] && !found.repeat {
			return d.Errf("%s has the option %s twice", in, name)
		}
		seen[name] = true
		if err := found.parse(d); err != nil {
			return err
		}
	}
	return nil
}

// The kinds of options.

func stringOption(name string, to *string) option {
	return option{name: name, parse: func(d *caddyfile.Dispenser) error {
		if !d.AllArgs(to) {
			return d.ArgErr()
		}
		return nil
	}}
}

func flagOption(name string, to *bool) option {
	return option{name: name, parse: func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		*to = true
		return nil
	}}
}

func durationOption(name string, to *caddy.Duration) option {
	return option{name: name, parse: func(d *caddyfile.Dispenser) error {
		var s string
		if !d.AllArgs(&s) {
			return d.ArgErr()
		}
		return parseDuration(d, name, s, to)
	}}
}

func parseDuration(d *caddyfile.Dispenser, name, s string, to *caddy.Duration) error {
	v, err := caddy.ParseDuration(s)
	if err != nil || v <= 0 {
		return d.Errf("%s must be a positive duration such as 30s, 10m or 1d, not %q", name, s)
	}
	*to = caddy.Duration(v)
	return nil
}

func intOption(name string, to *int) option {
	return option{name: name, parse: func(d *caddyfile.Dispenser) error {
		var s string
		if !d.AllArgs(&s) {
			return d.ArgErr()
		}
		v, err := strconv.Atoi(s)
		if err != nil {
			return d.Errf("%s must be a number, not %q", name, s)
		}
		*to = v
		return nil
	}}
}

func sizeOption(name string, to *int64) option {
	return option{name: name, parse: func(d *caddyfile.Dispenser) error {
		var s string
		if !d.AllArgs(&s) {
			return d.ArgErr()
		}
		v, err := humanize.ParseBytes(s)
		if err != nil || v == 0 || v > 1<<60 {
			return d.Errf("%s must be a size such as 512KiB, 10MiB or 1GiB, not %q", name, s)
		}
		*to = int64(v)
		return nil
	}}
}

// pairOption reads two arguments, such as user name and password. The error
// does not show them.
func pairOption(name string, repeat bool, use func(first, second string)) option {
	return option{name: name, repeat: repeat, parse: func(d *caddyfile.Dispenser) error {
		var first, second string
		if !d.AllArgs(&first, &second) {
			return d.Errf("%s takes two arguments", name)
		}
		use(first, second)
		return nil
	}}
}

// listOption reads one or more arguments, and may repeat.
func listOption(name string, to *[]string) option {
	return option{name: name, repeat: true, parse: func(d *caddyfile.Dispenser) error {
		list := d.RemainingArgs()
		if len(list) == 0 {
			return d.ArgErr()
		}
		*to = append(*to, list...)
		return nil
	}}
}
