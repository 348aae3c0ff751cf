// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asDeposed is what a server says that led the stream before its second group, and
// that no other one listens to.
var asDeposed = strings.NewReplacer(`"last_seq":2`, `"last_seq":1`, "API.STREAM.PURGE", "API.STREAM.NONE_")

// A server that led the stream, and does not know yet that another one does, seems to
// have lost what was accepted since. Nothing is delivered again for that.
func TestServerThatLedBefore(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t)
	require.NoError(t, server.start())
	s := storeOn(t, server)
	proxy := newNATSProxy(t, server.addr)
	s.config.External.URLs = []string{proxy.url()}
	q := s.open(t, "a")
	reader := q.NewReader("a")
	for n := range 2 {
		acceptSoon(t, q, numbered(n))
		require.NoError(t, next(t, reader).Ack())
	}
	require.Eventually(t, func() bool { return !q.shared.isBeyond(2) && q.shared.isBeyond(1) }, patience, 10*time.Millisecond)
	verify := func() error {
		q.change.RLock()
		defer q.change.RUnlock()
		return q.prepare(t.Context())
	}
	proxy.changes.Store(asDeposed)
	require.Error(t, verify())
	require.Error(t, q.follow())
	proxy.changes.Store(nil)
	require.NoError(t, verify())
	require.Zero(t, q.Damage().SetBack)
	require.True(t, q.shared.isBeyond(1), "what others have stored is forgotten")
	acceptSoon(t, q, numbered(2))
	require.Equal(t, uint64(3), next(t, reader).Sequence)
}

// A history is not forgotten for its answer either.
func TestLogOfServerThatLedBefore(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t)
	require.NoError(t, server.start())
	s := storeOn(t, server)
	proxy := newNATSProxy(t, server.addr)
	s.config.External.URLs = []string{proxy.url()}
	q := s.open(t, "a")
	log := q.Log("history", LogLimits{Age: time.Hour, Bytes: 1 << 20})
	for range 2 {
		require.Eventually(t, func() bool { return log.Append(t.Context(), []byte("event")) == nil }, patience, 10*time.Millisecond)
	}
	follow := func(ends uint64) error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*requestTimeout)
		defer cancel()
		return log.Follow(ctx, func(state LogState) uint64 {
			assert.Equal(t, ends, state.Last)
			return 0
		}, func(e LogEntry) {
			if e.Seq == ends {
				cancel()
			}
		}, func() {})
	}
	require.ErrorIs(t, follow(2), context.Canceled)
	proxy.changes.Store(asDeposed)
	require.ErrorIs(t, follow(2), ErrUnavailable)
	proxy.changes.Store(nil)
	require.ErrorIs(t, follow(2), context.Canceled)
}
