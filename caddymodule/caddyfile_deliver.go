// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
)

// parseTarget reads what stands after deliver: the kind of the target, which
// is a module in the namespace dovecot_push.targets. The module reads the rest.
func parseTarget(d *caddyfile.Dispenser, app *App) error {
	if !d.NextArg() {
		return d.Errf("deliver needs the kind of the target: %s", targetKinds())
	}
	kind := d.Val()
	if _, err := caddy.GetModule(target.Namespace + "." + kind); err != nil {
		return d.Errf("there is no target %q; there are: %s", kind, targetKinds())
	}
	target, err := caddyfile.UnmarshalModule(d, target.Namespace+"."+kind)
	if err != nil {
		return err
	}
	app.TargetsRaw = append(app.TargetsRaw, caddyconfig.JSONModuleObject(target, "target", kind, nil))
	return nil
}

// targetKinds lists the targets there are, those of other modules included.
func targetKinds() string {
	var kinds []string
	for _, m := range caddy.GetModules(target.Namespace) {
		if _, ok := m.New().(caddyfile.Unmarshaler); ok {
			kinds = append(kinds, m.ID.Name())
		}
	}
	return strings.Join(kinds, ", ")
}
