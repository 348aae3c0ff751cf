// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package jitter

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSpread(t *testing.T) {
	least, most := time.Hour, time.Duration(0)
	for range 10_000 {
		d := Spread(time.Minute, 0.1)
		require.InDelta(t, time.Minute, d, float64(6*time.Second)+1)
		least, most = min(least, d), max(most, d)
	}
	require.Less(t, least, 55*time.Second)
	require.Greater(t, most, 65*time.Second)
	require.Zero(t, Spread(0, 0.5))
	require.Equal(t, time.Minute, Spread(time.Minute, 0))
}
