// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// startNATS starts a NATS server that several logs share.
func startNATS(t *testing.T) (url string) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(patience))
	return s.ClientURL()
}

func openShared(t *testing.T, url string) *Log {
	t.Helper()
	q, err := queue.Open(t.Context(), queue.Config{
		External: &queue.External{URLs: []string{url}, Durability: queue.AnyDurability}, MaxBytes: 32 << 20, MaxAge: time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	release, err := q.Use(t.Context(), nil)
	require.NoError(t, err)
	l := open(Config{Queue: q, Shared: true, Logger: slog.New(slog.DiscardHandler)}, quick)
	t.Cleanup(func() {
		l.Close()
		release()
		require.NoError(t, q.Close())
	})
	return l
}

// Each Caddy gives its streams what was accepted at another one.
func TestCluster(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	here, there := openShared(t, url), openShared(t, url)
	c := newClient(t, here, alice)
	for i := range 10 {
		offered(t, []*Log{here, there}[i%2], alice, i)
	}
	require.ElementsMatch(t, numbers(0, 10), c.wait(10))
	c.hangUp()
	offered(t, there, alice, 10)

	// A client goes on where it was, wherever it comes to.
	for i := range 10 {
		c.connect([]*Log{there, here}[i%2], alice)
		require.Equal(t, Resumed, c.start)
		offered(t, []*Log{here, there}[i%3%2], alice, 11+i)
		require.ElementsMatch(t, numbers(0, 12+i), c.wait(12+i))
		c.hangUp()
	}
	offered(t, here, alice, 5) // once more, elsewhere
	c.connect(there, alice)
	offered(t, there, alice, 21)
	require.ElementsMatch(t, numbers(0, 22), c.wait(22))
	c.hangUp()
}

// A Caddy learns a moment late of a stream that has begun at another one. What
// it accepted in between, and a moment before, belongs to the stream.
func TestClusterFindsWhatCameMeanwhile(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	here, there := openShared(t, url), openShared(t, url)
	for i := range 3 {
		offered(t, there, alice, i)
		offered(t, there, bob, 100+i)
	}
	c := newClient(t, here, alice)
	defer c.hangUp()
	c.wait(3)
	offered(t, there, alice, 3)
	require.ElementsMatch(t, numbers(0, 4), c.wait(4))
}

func TestRecentIsBounded(t *testing.T) {
	t.Parallel()
	var r recent
	for i := range 3 * maxRecent {
		r.add(offer{user: fmt.Sprint("user", i%3), data: []byte{byte(i)}})
	}
	require.Len(t, r.of("user0"), maxRecent/3)
	mine := r.of("user1")
	require.NotEmpty(t, mine)
	for i := 1; i < len(mine); i++ {
		require.Equal(t, mine[i-1].data[0]+3, mine[i].data[0], "oldest first")
	}
	require.Empty(t, r.of("nobody"))
	for _, o := range r.ring {
		o.at = o.at.Add(-recentAge)
	}
	require.Empty(t, r.of("user0"))
}
