// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func withSchedule(t *testing.T, steps ...time.Duration) {
	t.Helper()
	old := schedule
	schedule = steps
	t.Cleanup(func() { schedule = old })
}

func TestNextAttempt(t *testing.T) {
	withSchedule(t, 5*time.Second, 30*time.Second, 2*time.Minute)
	for attempts, want := range map[int]time.Duration{
		-1: 5 * time.Second, 0: 5 * time.Second, 1: 5 * time.Second, 2: 30 * time.Second, 3: 2 * time.Minute, 4: 2 * time.Minute,
		math.MaxInt: 2 * time.Minute,
	} {
		least, most := time.Duration(math.MaxInt64), time.Duration(0)
		for range 1000 {
			d := nextAttempt(attempts, 0)
			least, most = min(least, d), max(most, d)
		}
		require.GreaterOrEqual(t, least, want*8/10, attempts)
		require.LessOrEqual(t, most, want*12/10, attempts)
		require.Greater(t, most-least, want/10, "what failed together does not come back together")
	}
}

// What a receiver asks for is honoured, within bounds.
func TestNextAttemptAsked(t *testing.T) {
	withSchedule(t, 5*time.Second, 30*time.Second, 2*time.Minute)
	for _, test := range []struct {
		attempts    int
		asked, want time.Duration
	}{
		{1, time.Nanosecond, time.Second},
		{1, time.Second, time.Second},
		{1, 10 * time.Second, 10 * time.Second},
		{1, time.Hour, 35 * time.Second},
		{2, time.Hour, 150 * time.Second},
		{3, time.Hour, 4 * time.Minute},
		{100, math.MaxInt64, 4 * time.Minute},
	} {
		require.Equal(t, test.want, nextAttempt(test.attempts, test.asked), test)
	}
	d := nextAttempt(1, -time.Hour)
	require.InDelta(t, 5*time.Second, d, float64(time.Second), "nothing sensible was asked for")
}

func TestScheduleGrows(t *testing.T) {
	for _, steps := range [][]time.Duration{schedule, probes} {
		for i := 1; i < len(steps); i++ {
			require.Greater(t, steps[i], steps[i-1])
		}
	}
}
