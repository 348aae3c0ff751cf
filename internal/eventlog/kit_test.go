// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/natsleak"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

func TestMain(m *testing.M) { natsleak.VerifyTestMain(m) }

const (
	alice = "alice@example.com"
	bob   = "bob@example.com"

	// patience is how long a condition may take to come true on a busy machine.
	patience = time.Minute
)

// quick does in moments what takes minutes and hours.
var quick = timing{
	history: time.Hour, lease: 90 * time.Minute, renew: 65 * time.Minute,
	tick: 10 * time.Millisecond, retry: 10 * time.Millisecond,
}

func openQueue(t *testing.T, dir string) *queue.Queue {
	t.Helper()
	q := queuetest.Open(t, queuetest.Config(dir))
	release, err := q.Use(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(release)
	return q
}

func openLog(t *testing.T, q *queue.Queue, timing timing) *Log {
	t.Helper()
	l := open(Config{Queue: q, Logger: slog.New(slog.DiscardHandler)}, timing)
	t.Cleanup(l.Close)
	return l
}

func newLog(t *testing.T) *Log {
	t.Helper()
	return openLog(t, openQueue(t, t.TempDir()), quick)
}

// offered makes the event with a number.
func offered(t *testing.T, l *Log, user string, number int) {
	t.Helper()
	require.NoError(t, offerTo(t.Context(), l, user, number))
}

func offerTo(ctx context.Context, l *Log, user string, number int) error {
	var id notification.Identity
	binary.BigEndian.PutUint64(id[:], uint64(number))
	return l.Offer(ctx, user, id, func() (string, []byte) { return "test", fmt.Appendf(nil, "%d", number) })
}

// client is somebody with a stream.
type client struct {
	t      *testing.T
	stream *Stream
	ready  chan struct{}
	start  Start
	lastID string
	got    []string
}

// connect opens a stream where the client was before.
func (c *client) connect(l *Log, user string) *client {
	c.t.Helper()
	c.ready = make(chan struct{}, 1)
	s, start, err := l.Open(c.t.Context(), user, c.lastID, func() {
		select {
		case c.ready <- struct{}{}:
		default:
		}
	})
	require.NoError(c.t, err)
	c.stream, c.start = s, start
	c.next()
	return c
}

func newClient(t *testing.T, l *Log, user string) *client {
	t.Helper()
	return (&client{t: t}).connect(l, user)
}

// next takes what is there. It returns false when the stream has failed.
func (c *client) next() bool {
	events, id, err := c.stream.Next()
	if err != nil {
		return false
	}
	for _, e := range events {
		c.got = append(c.got, string(e.Data))
		c.lastID = e.ID
	}
	c.lastID = id
	return true
}

// wait waits until the client has got so many events.
func (c *client) wait(n int) []string {
	c.t.Helper()
	deadline := time.After(patience)
	for len(c.got) < n {
		select {
		case <-c.ready:
			require.True(c.t, c.next())
		case <-deadline:
			require.FailNow(c.t, "events do not come", "%v", c.got)
		}
	}
	return c.got
}

// hangUp closes the stream.
func (c *client) hangUp() { c.stream.Close() }

// reports records the calls of its method report.
type reports struct {
	mu    sync.Mutex
	calls []string
	fails int
}

func (f *reports) report(_ context.Context, user string, streaming bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails > 0 {
		f.fails--
		return queue.ErrUnavailable
	}
	f.calls = append(f.calls, fmt.Sprint(user, " ", streaming))
	return nil
}

func (f *reports) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func numbers(from, to int) []string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}
