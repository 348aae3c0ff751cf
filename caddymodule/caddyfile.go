// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
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

// route is a route without a matcher for handler.
func route(h httpcaddyfile.Helper, handler caddy.Module, name string) []httpcaddyfile.ConfigValue {
	return []httpcaddyfile.ConfigValue{{
		Class: "route",
		Value: caddyhttp.Route{HandlersRaw: []json.RawMessage{caddyconfig.JSONModuleObject(handler, "handler", name, nil)}},
	}}
}

func plainPath(h httpcaddyfile.Helper, p string) error {
	if !strings.HasPrefix(p, "/") && p != "*" {
		return h.Errf("%q is not a path; named matchers cannot be used here, because the path must be recognised in every spelling", p)
	}
	return nil
}
