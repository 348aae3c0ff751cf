// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// requireReach waits until a count reaches want. It fails once the count has stood
// still for waitTimeout: how long many take tells only what else the machine does.
func requireReach(t *testing.T, want int, count func() int, tick time.Duration) {
	t.Helper()
	have, since := count(), time.Now()
	for have < want {
		time.Sleep(tick)
		if now := count(); now != have {
			have, since = now, time.Now()
		}
		if time.Since(since) > waitTimeout {
			require.FailNow(t, "the count stands still", "%d of %d, for %v", have, want, waitTimeout)
		}
	}
}
