// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package adminapi

import "time"

// VAPIDKeys is what GET /dovecot_push/vapid and POST /dovecot_push/vapid/rotate
// answer: the keys by which push services know this server, the newest first.
type VAPIDKeys struct {
	Keys []VAPIDKey `json:"keys"`
}

// VAPIDKey is one key. The private key is never shown.
type VAPIDKey struct {
	// What browsers take as applicationServerKey.
	PublicKey string    `json:"public_key"`
	Created   time.Time `json:"created"`
	// How many devices have subscribed with it.
	Devices int `json:"devices"`
}
