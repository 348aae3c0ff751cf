// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package apns

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

// UnmarshalCaddyfile reads the block of deliver apns. Syntax:
//
//	deliver apns {
//	    key              <placeholder>
//	    key_id           <id>
//	    team_id          <id>
//	    topics           <bundle identifiers...>
//	    content          thin|sender|full
//	    sealed
//	    ttl              <duration>
//	    endpoint         <https-url>
//	    sandbox_endpoint <https-url>
//	}
func (a *APNs) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the kind of the target
	if d.NextArg() {
		return d.Err("deliver apns takes no name: there is one for all devices")
	}
	return option.Block(d, "deliver apns",
		option.String("key", &a.Key),
		option.String("key_id", &a.KeyID),
		option.String("team_id", &a.TeamID),
		option.List("topics", &a.Topics),
		option.Content(&a.Content),
		option.Flag("sealed", &a.Sealed),
		option.Duration("ttl", &a.TTL),
		option.String("endpoint", &a.Endpoint),
		option.String("sandbox_endpoint", &a.SandboxEndpoint),
	)
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*APNs)(nil)
