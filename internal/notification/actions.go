// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

// Actions are what can be done with a mail from its notification, without signing
// in. The tokens permit it to the device that gets them: they are secrets.
type Actions struct {
	// User and Device are who does it.
	User   string `json:"user"`
	Device string `json:"device"`
	// Expires is until when, in seconds since 1970.
	Expires int64 `json:"expires"`
	// Offer are the actions in the order in which they are shown.
	Offer []Offer `json:"offer"`
}

// Offer is one action with what permits it.
type Offer struct {
	Action string `json:"action"`
	Token  string `json:"token"`
}
