// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/jitter"
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
	return spread(step(attempts))
}

// spread returns d, give or take a fifth.
func spread(d time.Duration) time.Duration { return jitter.Spread(d, 0.2) }
