// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// A service that counts what it is sent is left alone for as long as it asks,
// without probes. What was under way does not shorten that, and nobody else waits.
func TestServiceThatAsksForAPause(t *testing.T) {
	b, now := newServiceBreakers(newHealth()), time.Now()
	to := func(device, service string) *job {
		return &job{record: &queue.Record{Destination: device}, service: service}
	}
	attempt := func(j *job, r Result) effect {
		t.Helper()
		p, o, err := b.admit(t.Context(), j, func() time.Time { return now })
		require.NoError(t, err)
		require.Zero(t, o.wait)
		return b.done(j, p, r, now)
	}
	wait := func(j *job) time.Duration { return b.obstacle(j, now).wait }
	healthy, other := to("healthy", "s"), to("other", "t")
	for _, j := range []*job{healthy, other, to("asks", "s")} {
		attempt(j, Result{Outcome: Delivered})
	}
	full := Result{Reason: "quota", Fault: FaultOfService, After: 10 * time.Minute, Pause: true}
	assert.Equal(t, wentDown, attempt(to("asks", "s"), full).change, "at once")
	b.done(to("under way", "s"), passFree, Result{Outcome: Delivered}, now)
	for range 3 {
		now = now.Add(3 * time.Minute)
		for _, j := range []*job{healthy, to("new", "s")} {
			assert.Positive(t, wait(j))
			assert.LessOrEqual(t, wait(j), 10*time.Minute)
		}
		assert.Zero(t, wait(other))
	}
	now = now.Add(time.Minute)
	assert.Zero(t, wait(healthy))

	full.After = 24 * time.Hour
	attempt(healthy, full)
	assert.LessOrEqual(t, wait(healthy), maxPause)
	now = now.Add(-48 * time.Hour) // the clock was set back
	assert.LessOrEqual(t, wait(healthy), maxPause)
	now = now.Add(48*time.Hour + maxPause)
	assert.Zero(t, wait(healthy))

	full.Fault = FaultOfItem
	attempt(healthy, full)
	assert.Zero(t, wait(to("new", "s")), "one device asks for itself alone")
}
