// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queuetest

import (
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats-server/v2/server/ats"
)

// InVirtualTime runs a test with real stores by a clock that waits for nobody.
// No other test may use a store at the same time.
func InVirtualTime(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	ats.Register() // a clock of the store that all stores of a process share
	defer ats.Unregister()
	emptyPools()
	defer emptyPools()
	synctest.Test(t, test)
}

// emptyPools throws away timers that the client of the store keeps for others:
// they belong to one clock.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}
