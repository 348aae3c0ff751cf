// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// DeviceDefaults are the preferences of new devices, of every kind. Users change
// them for each of their devices. Devices that are known keep what they have.
type DeviceDefaults struct {
	// How much of a mail a device gets: `thin`, `sender` or `full`, but never
	// more than the target sends. Default: as much as the target sends.
	Content notification.Content `json:"content,omitempty"`

	// The urgency of new mails: `high` wakes sleeping phones, `normal` may wait
	// and makes no sound. Default: high.
	Urgency subscription.Urgency `json:"urgency,omitempty"`

	// The only folders that a device is notified of. Default: all that are
	// reported.
	Folders []string `json:"folders,omitempty"`

	// Hours in which a device is not notified. Default: none.
	QuietHours *QuietHours `json:"quiet_hours,omitempty"`
}

// QuietHours are hours of the day.
type QuietHours struct {
	// When they start and end, such as 22:00 and 07:00. If the end is not after
	// the start, it is on the next day.
	Start subscription.TimeOfDay `json:"start"`
	End   subscription.TimeOfDay `json:"end"`

	// The name of their time zone in IANA's database, such as Europe/Berlin.
	TimeZone string `json:"time_zone"`

	// The days on which they start: mo, tu, we, th, fr, sa and su. Default:
	// every day.
	Days []subscription.Day `json:"days,omitempty"`
}

// preferences are those of a new device. No defaults are none.
func (d *DeviceDefaults) preferences() (p subscription.Preferences) {
	if d == nil {
		return p
	}
	p.Content, p.Urgency, p.Folders = d.Content, d.Urgency, d.Folders
	if q := d.QuietHours; q != nil {
		p.QuietHours = &subscription.QuietHours{Start: q.Start, End: q.End, Days: q.Days, TimeZone: q.TimeZone}
	}
	return p
}

// validate checks the defaults, in the names of the options.
func (d *DeviceDefaults) validate() error {
	p := d.preferences()
	err := p.Check()
	if wrong, ok := errors.AsType[*subscription.FieldError](err); ok {
		field := strings.NewReplacer("preferences.", "", "quietHours", "quiet_hours", ".", ": ", "timeZone", "time zone").Replace(wrong.Field)
		return fmt.Errorf("device_defaults: %s %s", field, wrong.Problem)
	}
	return err
}
