// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"testing"
	"time"
)

// SetDeadLetterAge holds until the end of t, which is not parallel to others.
func SetDeadLetterAge(t *testing.T, age time.Duration) {
	t.Helper()
	before := deadLetterAge
	deadLetterAge = age
	t.Cleanup(func() { deadLetterAge = before })
}
