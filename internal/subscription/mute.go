// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import "time"

// Mute is until when a device is muted: a time with a precision of one second,
// or forever. Its zero value is not muted.
type Mute struct {
	until   time.Time
	forever bool
}

// forever is how [Forever] is written.
const forever = "forever"

// Forever mutes until the user turns the device on again.
var Forever = Mute{forever: true}

// MuteUntil mutes until a time.
func MuteUntil(at time.Time) Mute { return Mute{until: at.UTC().Truncate(time.Second)} }

// IsZero reports whether nothing is muted.
func (m Mute) IsZero() bool { return m == Mute{} }

func (m Mute) mutes(now time.Time) bool { return m.forever || now.Before(m.until) }

// MarshalText implements encoding.TextMarshaler: a time as in RFC 3339, or
// forever.
func (m Mute) MarshalText() ([]byte, error) {
	switch {
	case m.forever:
		return []byte(forever), nil
	case m.IsZero():
		return nil, nil
	default:
		return m.until.MarshalText()
	}
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mute) UnmarshalText(text []byte) error {
	if string(text) == forever {
		*m = Forever
		return nil
	}
	at, err := time.Parse(time.RFC3339, string(text))
	if _, unstorable := at.UTC().MarshalText(); err != nil || unstorable != nil { // the latter in the year 10000
		return &FieldError{"preferences.mutedUntil", `must be a time such as 2026-11-24T12:00:00Z, "forever" or null`}
	}
	*m = MuteUntil(at)
	return nil
}
