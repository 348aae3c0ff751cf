// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/natsleak"
)

// TestMain is also where the test binary starts again as the other process of
// a test.
func TestMain(m *testing.M) {
	embeddedWait = externalWait // many tests look whether nothing comes
	if part := os.Getenv(childPart); part != "" {
		os.Exit(childParts[part]())
	}
	natsleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		natsServer.remove()
		os.Exit(code)
	}))
}
