// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Many notifications of the largest size wait, more than a NATS server has on its
// way to one connection: they are taken out in turn, as many at once as there is
// room for, and one where there is less.
func TestManyEnormousBodies(t *testing.T) {
	s := embeddedStore(t)
	s.config.MaxBytes = 1 << 30
	q := s.open(t, "a")
	const many = 20
	for n := range many {
		require.Eventually(t, func() bool { // a busy disk is too slow for some
			_, err := q.Accept(t.Context(), Record{ID: identity(n), Accepted: time.UnixMilli(0), Body: make([]byte, MaxBody)}, time.Hour)
			return err == nil
		}, time.Minute, time.Millisecond)
	}
	r := q.NewReader("a")
	for taken := 0; taken < many; {
		room := []int{1, 3*MaxBody - 1, 3 * embeddedMaxPayload}[taken%3]
		groups, err := r.Take(t.Context(), 64, room)
		if errors.Is(err, ErrNoMore) {
			continue // not in a moment
		}
		require.NoError(t, err)
		require.LessOrEqual(t, len(groups), max(room/MaxBody, 1))
		for _, g := range groups {
			require.Equal(t, identity(taken), g.Records[0].ID)
			require.NoError(t, g.Ack())
			taken++
		}
	}
}
