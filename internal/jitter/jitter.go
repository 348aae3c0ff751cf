// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package jitter varies waits, so that what began together does not happen
// together again.
package jitter

import (
	"math/rand/v2"
	"time"
)

// Spread returns d plus or minus up to part of it: 0.1 is a tenth.
func Spread(d time.Duration, part float64) time.Duration {
	return time.Duration(float64(d) * (1 + part*(2*rand.Float64()-1))) //nolint:gosec // not a secret
}
