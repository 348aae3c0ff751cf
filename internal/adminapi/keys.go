// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package adminapi

import "time"

// Keys is what GET /dovecot_push/keys answers: the keys by which the services of
// devices know this server.
type Keys struct {
	Keys []Key `json:"keys"`
}

// Key is one of them. The private key is never shown.
type Key struct {
	// The target that uses it.
	Target string `json:"target"`
	// What the service calls it: the ID of the key, or the public key.
	ID string `json:"id"`
	// When it was created here or used first; absent if that is not known.
	Since time.Time `json:"since,omitzero"`
	// When the service takes it no more; absent if it says no end.
	Ends time.Time `json:"ends,omitzero"`
	// What could not be found out.
	Error string `json:"error,omitempty"`
}
