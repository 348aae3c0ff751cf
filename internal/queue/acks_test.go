// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What was delivered when its server died is not delivered again: the server is
// sent the acknowledgement when it is back. If it does not know that it gave the
// group away, it does so again, and nothing is in it.
func TestAckOfLostServer(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t)
	require.NoError(t, server.start())
	q := storeOn(t, server).open(t, "a")
	acceptSoon(t, q, numbered(0))
	reader := q.NewReader("a")
	g := next(t, reader)
	server.kill()
	require.Error(t, g.Ack())
	require.NoError(t, server.start())
	requireNotAgain(t, q, reader)
}

// What a server delivered that the others do not know of comes again from them. It
// is not delivered again.
func TestAckOfLostDelivery(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t)
	require.NoError(t, server.start())
	q := storeOn(t, server).open(t, "a")
	acceptSoon(t, q, numbered(0))
	server.stop(t)
	restore := server.snapshot(t)
	require.NoError(t, server.start())
	require.Eventually(t, q.isReady, patience, 10*time.Millisecond)
	reader := q.NewReader("a")
	g := next(t, reader)
	require.Len(t, g.Records, 1)
	server.stop(t)
	require.Error(t, g.Ack())
	restore()
	require.NoError(t, server.start())
	requireNotAgain(t, q, reader)
}

// Where the server lost it, and gave its number to another group, that one is
// still delivered.
func TestAckOfLostGroup(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t)
	require.NoError(t, server.start())
	q := storeOn(t, server).open(t, "a")
	server.stop(t)
	restore := server.snapshot(t)
	require.NoError(t, server.start())
	acceptSoon(t, q, numbered(0))
	reader := q.NewReader("a")
	g := next(t, reader)
	server.stop(t)
	require.Error(t, g.Ack())
	restore()
	require.NoError(t, server.start())
	acceptSoon(t, q, numbered(1))
	other := next(t, reader)
	require.Equal(t, g.Sequence, other.Sequence)
	requireStats(t, q, 1, map[string]TargetStats{"a": {Waiting: 1}})
	require.NoError(t, q.repeat(keyOf(g), lateAck{g.msg.Reply, g.stored, time.Now()}))
	requireStats(t, q, 1, map[string]TargetStats{"a": {Waiting: 1}})
	require.NoError(t, q.repeat(keyOf(other), lateAck{other.msg.Reply, other.stored, time.Now()}))
	requireStats(t, q, 0, map[string]TargetStats{"a": {}})
}

// A group that is not found may be one that the server that answers does not have
// yet. One that was removed is forgotten.
func TestAckOfGroupThatIsNotFound(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t)
	require.NoError(t, server.start())
	q := storeOn(t, server).open(t, "a")
	acceptSoon(t, q, numbered(0))
	g := next(t, q.NewReader("a"))
	require.NoError(t, g.Ack())
	require.Eventually(t, func() bool { return q.trim(t.Context(), false) == nil && waiting(t, q, "a") == 0 }, patience, 10*time.Millisecond)
	removed, missing := keyOf(g), ackKey{position: position{"a", g.Sequence + 1}}
	for _, key := range []ackKey{removed, missing} {
		a := lateAck{g.msg.Reply, g.stored, time.Now()}
		q.lateAcks.add(key, a)
		require.NoError(t, q.repeat(key, a))
	}
	require.False(t, q.lateAcks.has(removed, g.stored))
	require.True(t, q.lateAcks.has(missing, g.stored))
}

// requireNotAgain waits until nothing waits. Nothing must be delivered meanwhile.
func requireNotAgain(t testing.TB, q *Queue, r *Reader) {
	t.Helper()
	require.Eventually(t, func() bool {
		groups, _ := r.Take(t.Context(), 1, 1)
		for _, g := range groups {
			if !assert.Empty(t, g.Records) {
				return true
			}
			_ = g.Ack()
		}
		stats, err := q.Stats(t.Context(), []string{r.target})
		return err == nil && stats.Targets[r.target] == TargetStats{}
	}, patience, 10*time.Millisecond)
}

func keyOf(g *Group) ackKey { return ackKey{position: position{g.target, g.Sequence}} }
