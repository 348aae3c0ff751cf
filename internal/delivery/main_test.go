// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/natsleak"
)

// TestMain shortens what the tests would wait for. It is also where the test
// binary starts again as the process that a test kills.
func TestMain(m *testing.M) {
	schedule = []time.Duration{20 * time.Millisecond, 40 * time.Millisecond}
	probes = []time.Duration{20 * time.Millisecond, 40 * time.Millisecond}
	maxPostpone = 3 * time.Second
	graceful = 200 * time.Millisecond
	if os.Getenv(childDir) != "" {
		os.Exit(childMain())
	}
	natsleak.VerifyTestMain(m, goleak.Cleanup(os.Exit))
}
