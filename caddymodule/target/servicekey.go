// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"context"
	"time"
)

// ServiceKeyHolder is a [Module] whose service knows this server by a key that the
// operator was given there.
type ServiceKeyHolder interface {
	// ServiceKey returns the key of now. An error says what could not be found out;
	// what was is returned with it.
	ServiceKey(ctx context.Context) (ServiceKey, error)
}

// ServiceKey is what may be told of such a key.
type ServiceKey struct {
	// ID is what the service calls it.
	ID string
	// Used is when it was used first.
	Used time.Time
	// Ends is when the service takes it no more; zero if it says no end.
	Ends time.Time
}
