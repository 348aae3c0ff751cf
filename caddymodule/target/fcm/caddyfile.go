// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package fcm

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

// UnmarshalCaddyfile reads the block of deliver fcm. Syntax:
//
//	deliver fcm {
//	    service_account <placeholder>
//	    content         thin|sender|full
//	    sealed
//	    notification
//	    ttl             <duration>
//	    endpoint        <https-url>
//	}
func (f *FCM) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the kind of the target
	if d.NextArg() {
		return d.Err("deliver fcm takes no name: there is one for all devices")
	}
	return option.Block(d, "deliver fcm",
		option.String("service_account", &f.ServiceAccount),
		option.Content(&f.Content),
		option.Flag("sealed", &f.Sealed),
		option.Flag("notification", &f.Notification),
		option.Duration("ttl", &f.TTL),
		option.String("endpoint", &f.Endpoint),
	)
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*FCM)(nil)
