// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package option has what the modules of Caddy in this repository need to read
// their configuration: the options of blocks in a Caddyfile, secrets that come from
// placeholders, and files for TLS.
package option

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// Option is one option of a block.
type Option struct {
	Name string
	// Repeat allows it several times in a block.
	Repeat bool
	// Parse is called with the dispenser on the name of the option, and reads
	// its arguments and its block.
	Parse func(d *caddyfile.Dispenser) error
}

// Block reads a block of options. An option that is not known, and one
// that is repeated without being made for it, are errors.
func Block(d *caddyfile.Dispenser, in string, options ...Option) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		var found *Option
		for i := range options {
			if options[i].Name == name {
				found = &options[i]
			}
		}
		if found == nil {
			names := make([]string, len(options))
			for i := range options {
				names[i] = options[i].Name
			}
			return d.Errf("%s does not know the option %q; it knows: %s", in, name, strings.Join(names, ", "))
		}
		if seen[name] && !found.Repeat {
			return d.Errf("%s has the option %s twice", in, name)
		}
		seen[name] = true
		if err := found.Parse(d); err != nil {
			return err
		}
	}
	return nil
}

// String reads one argument.
func String(name string, to *string) Option {
	return Option{Name: name, Parse: func(d *caddyfile.Dispenser) error {
		if !d.AllArgs(to) {
			return d.ArgErr()
		}
		return nil
	}}
}

// Flag has no argument, and sets what it is for.
func Flag(name string, to *bool) Option {
	return Option{Name: name, Parse: func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		*to = true
		return nil
	}}
}

// Duration reads a positive duration.
func Duration(name string, to *caddy.Duration) Option {
	return Option{Name: name, Parse: func(d *caddyfile.Dispenser) error {
		var s string
		if !d.AllArgs(&s) {
			return d.ArgErr()
		}
		return ParseDuration(d, name, s, to)
	}}
}

// ParseDuration reads the positive duration s for the option called name.
func ParseDuration(d *caddyfile.Dispenser, name, s string, to *caddy.Duration) error {
	v, err := caddy.ParseDuration(s)
	if err != nil || v <= 0 {
		return d.Errf("%s must be a positive duration such as 30s, 10m or 1d, not %q", name, s)
	}
	*to = caddy.Duration(v)
	return nil
}

// Int reads a whole number.
func Int(name string, to *int) Option {
	return Option{Name: name, Parse: func(d *caddyfile.Dispenser) error {
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

// Size reads a size in bytes, such as 10MiB.
func Size(name string, to *int64) Option {
	return Option{Name: name, Parse: func(d *caddyfile.Dispenser) error {
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

// Pair reads two arguments, such as user name and password. The error
// does not show them.
func Pair(name string, repeat bool, use func(first, second string)) Option {
	return Option{Name: name, Repeat: repeat, Parse: func(d *caddyfile.Dispenser) error {
		var first, second string
		if !d.AllArgs(&first, &second) {
			return d.Errf("%s takes two arguments", name)
		}
		use(first, second)
		return nil
	}}
}

// List reads one or more arguments, and may repeat.
func List(name string, to *[]string) Option {
	return Option{Name: name, Repeat: true, Parse: func(d *caddyfile.Dispenser) error {
		list := d.RemainingArgs()
		if len(list) == 0 {
			return d.ArgErr()
		}
		*to = append(*to, list...)
		return nil
	}}
}

// Count is a number of things, of which there is at least one.
func Count(name string, to *int) Option {
	return Option{Name: name, Parse: func(d *caddyfile.Dispenser) error {
		if err := Int(name, to).Parse(d); err != nil {
			return err
		}
		if *to < 1 {
			return d.Errf("%s must be at least 1", name)
		}
		return nil
	}}
}
