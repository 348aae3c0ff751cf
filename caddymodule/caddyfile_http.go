// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// options are the options of every block with an access rule.
func (a *Access) options() []option {
	return []option{
		{name: "allow", repeat: true, parse: func(d *caddyfile.Dispenser) error {
			networks := d.RemainingArgs()
			if len(networks) == 0 {
				return d.ArgErr()
			}
			a.Allow = append(a.Allow, networks...)
			return nil
		}},
		{name: "allow_source", repeat: true, parse: func(d *caddyfile.Dispenser) error {
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
				return d.Errf("module http.ip_sources.%s is no source of networks: %T", name, unm)
			}
			a.AllowSourcesRaw = append(a.AllowSourcesRaw, caddyconfig.JSONModuleObject(source, "source", name, nil))
			return nil
		}},
		flagOption("client_ip", &a.ClientIP),
	}
}

// parseGuard reads the directive. Syntax:
//
//	dovecot_push_guard <paths...> {
//	    allow        <networks...>
//	    allow_source <module> [<args...>]
//	    client_ip
//	}
//
// The paths are not a matcher: Caddy's matchers know one reading of a path,
// the guard all of them.
func parseGuard(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	g := &Guard{Paths: h.RemainingArgs()}
	if len(g.Paths) == 0 {
		return nil, h.Err("dovecot_push_guard needs the paths to guard, such as /preliminary/*")
	}
	for _, p := range g.Paths {
		if err := plainPath(h, p); err != nil {
			return nil, err
		}
	}
	if err := parseBlock(h.Dispenser, "dovecot_push_guard", g.Access.options()...); err != nil {
		return nil, err
	}
	return route(h, g, "dovecot_push_guard"), nil
}

// parseNotify reads the directive. Syntax:
//
//	dovecot_push_notify [<path>] {
//	    allow              <networks...>
//	    allow_source       <module> [<args...>]
//	    client_ip
//	    credentials        <user> <password|hash>
//	    client_certificate sufficient|required
//	    unauthenticated
//	    max_body           <size>
//	    read_timeout       <duration>
//	    events             <names...>|all
//	    health             <path>
//	}
func parseNotify(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	n := new(Notify)
	if h.NextArg() {
		n.Path = h.Val()
		if err := plainPath(h, n.Path); err != nil {
			return nil, err
		}
	}
	if h.NextArg() {
		return nil, h.Errf("dovecot_push_notify has one path; %q is too much", h.Val())
	}
	err := parseBlock(h.Dispenser, "dovecot_push_notify", append(n.Access.options(),
		pairOption("credentials", true, func(user, password string) {
			n.Credentials = append(n.Credentials, Credentials{Username: user, Password: password})
		}),
		stringOption("client_certificate", &n.ClientCertificate),
		flagOption("unauthenticated", &n.Unauthenticated),
		sizeOption("max_body", &n.MaxBody),
		durationOption("read_timeout", &n.ReadTimeout),
		eventsOption(&n.Events),
		stringOption("health", &n.Health),
	)...)
	if err != nil {
		return nil, err
	}
	return route(h, n, "dovecot_push_notify"), nil
}

func plainPath(h httpcaddyfile.Helper, p string) error {
	if !strings.HasPrefix(p, "/") && p != "*" {
		return h.Errf("%q is not a path; named matchers cannot be used here, because the path must be recognised in every spelling", p)
	}
	return nil
}

// route is a route without a matcher for handler.
func route(h httpcaddyfile.Helper, handler caddy.Module, name string) []httpcaddyfile.ConfigValue {
	return []httpcaddyfile.ConfigValue{{
		Class: "route",
		Value: caddyhttp.Route{HandlersRaw: []json.RawMessage{caddyconfig.JSONModuleObject(handler, "handler", name, nil)}},
	}}
}

// eventsOption reads names of events.
func eventsOption(to *[]string) option {
	return option{name: "events", parse: func(d *caddyfile.Dispenser) error {
		*to = d.RemainingArgs()
		if _, err := notification.ParseEvents(*to); err != nil || len(*to) == 0 {
			return d.Errf("events takes names of events, or all: %s", notification.AllEvents)
		}
		return nil
	}}
}
