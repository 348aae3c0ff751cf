// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Caddy is killed again and again in the middle of its work. Whatever it had
// acknowledged arrives.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	ox := startMiddleware(t)
	f := newFront(t, ox.addr)
	s := newSender(f.http)
	for round := range rounds {
		f.start(t)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.run(ctx, 16)
		}()
		// Long enough for some deliveries, short enough for a crash in the
		// middle of the repair of the round before.
		time.Sleep(time.Duration(200+100*(round%5)) * time.Millisecond)
		f.Kill()
		cancel()
		<-done
	}
	f.start(t)
	require.Positive(t, s.count())

	var missing, again int
	requireReach(t, s.count(), func() int {
		missing, again = s.missing(decode(t, ox.got()))
		return s.count() - missing
	}, 200*time.Millisecond)
	t.Logf("%d rounds: %d acknowledged, %d missing, %d delivered again, %d unanswered",
		rounds, s.count(), missing, again, s.failed.Load())
}
