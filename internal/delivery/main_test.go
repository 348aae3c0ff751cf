// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain shortens what the tests would wait for.
func TestMain(m *testing.M) {
	schedule = []time.Duration{20 * time.Millisecond, 40 * time.Millisecond}
	probes = []time.Duration{20 * time.Millisecond, 40 * time.Millisecond}
	graceful = 200 * time.Millisecond
	goleak.VerifyTestMain(m, goleak.Cleanup(os.Exit))
}
