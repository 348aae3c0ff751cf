// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// waitsLong returns a reader whose requests wait as long at the server as those
// of a Caddy with nothing to do.
func waitsLong(t *testing.T, q *Queue, target string) *Reader {
	t.Helper()
	r := q.NewReader(target)
	_, err := q.consumer(t.Context(), target, false)
	require.NoError(t, err)
	r.pull, err = newPuller(q.nc(), q.streamOf(false), target, AckWait)
	require.NoError(t, err)
	return r
}

// A reader that waits ends with its context, at once, and what was on its way to
// it is given to the next one, not after AckWait.
func TestReaderEndsWhileItWaits(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		const rounds = 100
		q := s.open(t, "target")
		start := time.Now()
		got, without := make(map[int]bool), 0
		for n := range rounds {
			r := waitsLong(t, q, "target")
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(4000))*time.Microsecond)
			taken := make(chan []*Group, 1)
			go func() {
				groups, _ := r.Take(ctx, maxPull, 1<<30)
				taken <- groups
			}()
			accept(t, q, numbered(n))
			groups := <-taken
			if len(groups) == 0 {
				without++
			}
			for _, g := range groups {
				got[numberOf(g.Records[0])] = true
				require.NoError(t, g.Ack())
			}
			cancel()
			r.Close()
		}
		t.Logf("%d of %d readers ended without one", without, rounds)
		r := waitsLong(t, q, "target")
		defer r.Close()
		for len(got) < rounds {
			groups, err := r.Take(t.Context(), maxPull, 1<<30)
			require.NoError(t, err)
			for _, g := range groups {
				got[numberOf(g.Records[0])] = true
				require.NoError(t, g.Ack())
			}
		}
		assert.Less(t, time.Since(start), AckWait, "nothing waited for it")
	})
}

// A request is not waited for any more when the connection it was sent over is
// gone.
func TestReaderNoticesAnotherConnection(t *testing.T) {
	t.Parallel()
	q := embeddedStore(t).open(t, "target")
	r := waitsLong(t, q, "target")
	defer r.Close()
	start, ended := time.Now(), make(chan error, 1)
	go func() {
		_, err := r.Take(t.Context(), 1, 1<<30)
		ended <- err
	}()
	time.Sleep(50 * time.Millisecond) // it waits, or does so soon: both must end
	q.nc().Close()
	require.Error(t, <-ended)
	acceptSoon(t, q, numbered(1))
	require.Len(t, next(t, r).Records, 1)
	assert.Less(t, time.Since(start), AckWait)
}
