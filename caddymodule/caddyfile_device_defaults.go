// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// parseDeviceDefaults reads the preferences of new devices. Syntax:
//
//	device_defaults {
//	    content     thin|sender|full
//	    urgency     high|normal
//	    folders     <names...>
//	    quiet_hours <start> <end> <time zone> [<days...>]
//	}
func parseDeviceDefaults(d *caddyfile.Dispenser) (*DeviceDefaults, error) {
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	defaults := new(DeviceDefaults)
	err := option.Block(d, "device_defaults",
		option.Content(&defaults.Content),
		option.String("urgency", (*string)(&defaults.Urgency)),
		option.List("folders", &defaults.Folders),
		option.Option{Name: "quiet_hours", Parse: func(d *caddyfile.Dispenser) error {
			args := d.RemainingArgs()
			if len(args) < 3 {
				return d.Err("quiet_hours needs a start, an end and a time zone, such as: quiet_hours 22:00 07:00 Europe/Berlin")
			}
			q := &QuietHours{Start: subscription.TimeOfDay(args[0]), End: subscription.TimeOfDay(args[1]), TimeZone: args[2]}
			for _, day := range args[3:] {
				q.Days = append(q.Days, subscription.Day(day))
			}
			defaults.QuietHours = q
			return nil
		}},
	)
	if err != nil {
		return nil, err
	}
	if err := defaults.validate(); err != nil {
		return nil, d.WrapErr(err)
	}
	return defaults, nil
}
