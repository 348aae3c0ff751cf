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
// way to one connection: they are taken out in turn.
func TestManyEnormousBodies(t *testing.T) {
	s := embeddedStore(t)
	s.config.MaxBytes = 1 << 30
	q := s.open(t, "a")
	const many = 20
	for n := range many {
		accept(t, q, Record{ID: identity(n), Accepted: time.UnixMilli(0), Body: make([]byte, MaxBody)})
	}
	r := q.NewReader("a")
	for taken := 0; taken < many; {
		groups, err := r.Take(t.Context(), 64)
		if errors.Is(err, ErrNoMore) {
			continue // not in a moment
		}
		require.NoError(t, err)
		for _, g := range groups {
			require.Equal(t, identity(taken), g.Records[0].ID)
			require.NoError(t, g.Ack())
			taken++
		}
	}
}
