// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package natsleak tells leaks of goroutines from those of the embedded NATS
// server that end some seconds after it was shut down.
package natsleak

import (
	"testing"

	"go.uber.org/goleak"
)

// VerifyTestMain is [goleak.VerifyTestMain] for tests that open a queue.
func VerifyTestMain(m *testing.M, options ...goleak.Option) {
	goleak.VerifyTestMain(m, append(options,
		// A store that was closed may still write its index.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		// The clock of all stores ends with the last of them.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
	)...)
}
