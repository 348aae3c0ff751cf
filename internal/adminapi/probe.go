// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package adminapi

// The doctor asks the notify endpoint with the first header field, and the
// answer to a request that was let in has the second, with the instance of
// [Status].
const (
	ProbeHeader    = "Dovecot-Push-Probe"
	InstanceHeader = "Dovecot-Push-Instance"
)

// Probe is one thing that the app asked just now: POST /dovecot_push/probe.
type Probe struct {
	// What was asked: queue, guard, doveadm, imap, users, registration, contact,
	// target or key.
	Kind string `json:"kind"`
	// Which of them: the endpoint, the server, the target.
	Name string `json:"name"`
	// How it was asked, and what came back. Without secrets.
	Asked    string `json:"asked"`
	Answered string `json:"answered"`
	// Whether that is what it should be. What cannot be asked is skipped.
	OK      bool `json:"ok"`
	Skipped bool `json:"skipped,omitempty"`
	// Why not, in a word.
	Reason string `json:"reason,omitempty"`
}
