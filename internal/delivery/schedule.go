// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"math/rand/v2"
	"time"
)

// schedule is the wait after the first, second, … failed attempt for one
// notification. The last step repeats.
var schedule = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour,
}

func step(attempts int) time.Duration {
	return schedule[min(max(attempts, 1), len(schedule))-1]
}

// nextAttempt returns the wait after the given number of failed attempts. What
// the receiver asked for is honored between 1 s and the sum of this step and
// the next.
func nextAttempt(attempts int, asked time.Duration) time.Duration {
	if asked > 0 {
		return min(max(asked, time.Second), step(attempts)+step(attempts+1))
	}
	return jitter(step(attempts))
}

// jitter spreads d by 20 % either way, so that what failed together does not
// come back together.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // not a secret
}
