// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

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
		return nil, h.Errf("dovecot_push_notify takes one path; %q is one too many", h.Val())
	}
	err := option.Block(h.Dispenser, "dovecot_push_notify", append(n.Access.options(),
		option.Pair("credentials", true, func(user, password string) {
			n.Credentials = append(n.Credentials, Credentials{Username: user, Password: password})
		}),
		option.String("client_certificate", &n.ClientCertificate),
		option.Flag("unauthenticated", &n.Unauthenticated),
		option.Size("max_body", &n.MaxBody),
		option.Duration("read_timeout", &n.ReadTimeout),
		option.Events(&n.Events),
		option.String("health", &n.Health),
	)...)
	if err != nil {
		return nil, err
	}
	return route(h, n, "dovecot_push_notify"), nil
}
