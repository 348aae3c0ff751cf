// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package adminapi

import "time"

// FollowTime is how long a notification is followed unless asked otherwise.
const FollowTime = 30 * time.Second

// Step is one step on the way of a notification.
type Step struct {
	// What happened: following, stored, duplicate, not_stored, delivered,
	// failed, gone, coalesced, silenced (the user does not want it on the
	// device), dead_letter, or skipped: the target does not want it, or the
	// user has no device. After reloaded, which is a new
	// configuration or the end of Caddy, nothing comes any more.
	What string    `json:"what"`
	Time time.Time `json:"time"`
	// The identity of the notification; empty at the beginning.
	ID string `json:"id,omitempty"`
	// The target, for what happened there.
	Target string `json:"target,omitempty"`
	// Why it failed: the reason of the metrics.
	Reason string `json:"reason,omitempty"`
	// How long the step took, in milliseconds.
	Milliseconds float64 `json:"ms,omitempty"`
	// At the beginning: the targets that the notification goes to.
	Targets []string `json:"targets,omitempty"`
}

// Final reports whether the target is done with the notification.
func (s *Step) Final() bool {
	switch s.What {
	case "delivered", "gone", "coalesced", "silenced", "skipped", "dead_letter":
		return true
	default:
		return false
	}
}
