// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What was delivered when its server died is not delivered again: the server is
// sent the acknowledgement when it is back.
func TestAckOfLostServer(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t)
	require.NoError(t, server.start())
	q := storeOn(t, server).open(t, "a")
	acceptSoon(t, q, numbered(0))
	g := next(t, q.NewReader("a"))
	server.kill()
	require.Error(t, g.Ack())
	require.NoError(t, server.start())
	require.Eventually(t, q.isReady, patience, 10*time.Millisecond)
	requireStats(t, q, 0, map[string]TargetStats{"a": {}}) // nobody reads it meanwhile
}

// Where the server lost it, and gave its number to another group, that one is
// still delivered.
func TestAckOfLostGroup(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t)
	stop := func() {
		require.NoError(t, server.cmd.Process.Signal(os.Interrupt))
		_ = server.cmd.Wait()
	}
	require.NoError(t, server.start())
	q := storeOn(t, server).open(t, "a")
	stop()
	messages := filepath.Join(server.dir, "jetstream", "jetstream", "$G", "streams", "dovecot_push", "msgs")
	kept := filepath.Join(t.TempDir(), "msgs")
	require.NoError(t, os.CopyFS(kept, os.DirFS(messages)))
	require.NoError(t, server.start())
	acceptSoon(t, q, numbered(0))
	reader := q.NewReader("a")
	g := next(t, reader)
	stop()
	require.Error(t, g.Ack())
	require.NoError(t, os.RemoveAll(messages))
	require.NoError(t, os.CopyFS(messages, os.DirFS(kept)))
	require.NoError(t, server.start())
	acceptSoon(t, q, numbered(1))
	other := next(t, reader)
	require.Equal(t, g.Sequence, other.Sequence)
	requireStats(t, q, 1, map[string]TargetStats{"a": {Waiting: 1}})
	require.NoError(t, q.repeat(lateAck{g.msg.Reply, false, g.Sequence, g.stored, time.Now()}))
	requireStats(t, q, 1, map[string]TargetStats{"a": {Waiting: 1}})
	require.NoError(t, q.repeat(lateAck{other.msg.Reply, false, other.Sequence, other.stored, time.Now()}))
	requireStats(t, q, 0, map[string]TargetStats{"a": {}})
}
