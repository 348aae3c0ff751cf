// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

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
	if err := option.Block(h.Dispenser, "dovecot_push_guard", g.Access.options()...); err != nil {
		return nil, err
	}
	return route(h, g, "dovecot_push_guard"), nil
}
