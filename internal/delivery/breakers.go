// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"time"
)

// breakers decide when attempts for the jobs of a target may be made: one
// circuit breaker for all of it, or one for each of its services. They are safe
// for concurrent use.
type breakers interface {
	// admit decides about an attempt for j. It may wait until ctx ends. If it
	// returns an obstacle, j must wait elsewhere. Otherwise it must be followed
	// by one done or cancel.
	admit(ctx context.Context, j *job, now func() time.Time) (pass, obstacle, error)
	// obstacle returns what j must wait for elsewhere.
	obstacle(j *job, now time.Time) obstacle
	// done records the result of an attempt.
	done(j *job, p pass, r Result, now time.Time) effect
	// cancel ends an attempt that was never made.
	cancel(j *job, p pass)
	// isDown reports whether the whole target is down.
	isDown() bool
}

// obstacle is what an attempt must wait for.
type obstacle struct {
	wait     time.Duration // at least; 0: the attempt may be made
	waitsFor string        // see [queue.Parked]
	reason   string
	of       class // of the destination
}

// effect is what the result of an attempt means for other jobs.
type effect struct {
	shared    string        // what the breaker is of, see [queue.Parked]
	change    transition    // of the breaker
	lasted    time.Duration // how long the breaker was open, if it closed
	blamed    bool          // the attempt failed because of what is shared
	recovered bool          // the item had failed repeatedly, and works again
}
