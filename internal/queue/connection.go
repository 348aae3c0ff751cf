// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// connection is one connection to the NATS server, and what is used through
// it. nats.go connects again after most faults, and closes the connection for
// good after the others, such as an error that it does not know. The queue
// opens another one then.
type connection struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	writer *writer // for commitLoop alone
	// maxPayload is the largest message that the server takes, in bytes; 0
	// before the first connect. To ask nc waits for a lock, which is held
	// while nats.go connects or writes.
	maxPayload atomic.Int64
	dialer     dialer
}

func (q *Queue) nc() *nats.Conn          { return q.conn.Load().nc }
func (q *Queue) js() jetstream.JetStream { return q.conn.Load().js }

// connect opens a connection, which replaces the one that there was. Only one
// goroutine at a time does so: q.change is held, or nobody has the queue yet.
func (q *Queue) connect() (err error) {
	c := new(connection)
	opts := []nats.Option{
		nats.Name("dovecot_push"),
		nats.MaxReconnects(-1),
		nats.WriteBufferSize(directWrite),
		// Fail at once instead of buffering: nobody gets "stored" for something
		// that only waits in memory.
		nats.ReconnectBufSize(-1),
		nats.ConnectHandler(func(nc *nats.Conn) { q.connected(c, nc) }),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			q.connected(c, nc)
			if q.server == nil {
				q.log.Info("connected to the NATS server of the queue again", "server", nc.ConnectedServerName())
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { q.connectErr.Store(&err) }),
		nats.ClosedHandler(func(nc *nats.Conn) { q.disconnected(nc.LastError()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if first, is := q.denied.note(err); is && !first {
				return // once is enough
			}
			q.log.Error("the NATS server of the queue reports an error", "error", err)
		}),
	}
	if q.server != nil {
		c.nc, err = q.server.connect(opts...)
	} else {
		opts = append(opts, nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { q.disconnected(err) }))
		c.nc, err = q.settings.External.connect(&c.dialer, opts...)
	}
	if err != nil {
		return fmt.Errorf("connecting to the store of the queue: %w", err)
	}
	if c.js, err = jetstream.New(c.nc, jetstream.WithDefaultTimeout(requestTimeout)); err == nil {
		c.writer, err = newWriter(c.nc)
	}
	if err != nil {
		c.nc.Close()
		return fmt.Errorf("opening JetStream: %w", err)
	}
	if size := c.nc.MaxPayload(); size > 0 {
		c.maxPayload.Store(size)
	}
	q.conn.Store(c)
	return nil
}

// reconnect replaces a connection that was closed for good. q.change is held.
func (q *Queue) reconnect() error {
	if q.ctx.Err() != nil || !q.nc().IsClosed() {
		return nil
	}
	return q.connect()
}

func (q *Queue) connected(c *connection, nc *nats.Conn) {
	c.maxPayload.Store(nc.MaxPayload())
	q.wakeRepair()
}

// disconnected ends the writes that are under way: nobody knows whether they
// are stored.
func (q *Queue) disconnected(err error) {
	if q.ctx.Err() != nil {
		return // it is being closed
	}
	q.available.fail()
	if err != nil && !errors.Is(err, net.ErrClosed) { // closed by the queue, which has said why
		q.connectErr.Store(&err)
		q.log.Error("lost the connection to the NATS server of the queue", "error", err)
	}
	q.wakeRepair()
}

const (
	// pongTimeout is how long a server may take to answer that it is there.
	pongTimeout = 500 * time.Millisecond
	// resumeTimeout is how long the leader of the stream may take to answer.
	resumeTimeout = 750 * time.Millisecond
	// moveAfter is how long a server may be connected to, and of no use: it is
	// cut off from the others, say. Then another one is tried.
	moveAfter = 2 * time.Second
)

// resume makes an external store usable again: it goes to another server when
// the one it is connected to has vanished or is of no use.
func (q *Queue) resume() error {
	c := q.conn.Load()
	switch {
	case c.nc.IsClosed():
		q.change.Lock()
		defer q.change.Unlock()
		if err := q.reconnect(); err != nil {
			return err
		}
		return q.notConnected()
	case !c.nc.IsConnected():
		return q.notConnected()
	}
	if err := c.nc.FlushTimeout(pongTimeout); err != nil && c.nc.IsConnected() {
		q.log.Warn("the NATS server of the queue does not answer: connecting to another one, if there is one", "server", c.nc.ConnectedAddr())
		c.dialer.cut()
		return errSilent
	}
	err := explain(q.find())
	if denied := q.denied.list(); err != nil && len(denied) > 0 {
		err = fmt.Errorf("%w (the NATS account may not %s)", err, strings.Join(denied, ", "))
	}
	if err != nil && q.ctx.Err() == nil && q.available.away() > moveAfter && time.Since(c.dialer.since()) > moveAfter {
		level := slog.LevelDebug
		if q.available.away() < 3*moveAfter { // not again and again
			level = slog.LevelWarn
		}
		q.log.Log(q.ctx, level, "the NATS server of the queue is of no use: connecting to another one, if there is one", "server", c.nc.ConnectedAddr(), "error", err)
		c.dialer.cut()
	}
	return err
}

// find looks for the streams, and prepares them if they were never seen. To
// wait until each of them and all consumers have a leader would take longer
// than the one that is written to: verify does that later.
func (q *Queue) find() error {
	q.change.RLock()
	defer q.change.RUnlock()
	if !q.prepared.Load() {
		return q.prepare(q.ctx)
	}
	ctx, cancel := context.WithTimeout(q.ctx, resumeTimeout)
	defer cancel()
	stream, err := q.js().Stream(ctx, q.names.stream)
	switch {
	case err == nil && stream.CachedInfo().State.LastSeq < q.reached.Load():
		// It lost something. What is accepted now would get numbers that
		// targets have passed.
		return q.prepare(q.ctx)
	case err == nil:
		q.unverified.Store(true)
		q.available.set(q.ctx)
		return nil
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return q.prepare(q.ctx)
	default:
		return err
	}
}

// verify prepares what find has not looked at. The queue takes writes meanwhile.
func (q *Queue) verify() {
	if !q.unverified.Load() {
		return
	}
	q.change.RLock()
	defer q.change.RUnlock()
	if err := q.prepare(q.ctx); err == nil {
		q.unverified.Store(false)
	}
}

// verifyReplicas gives the streams their replicas where the cluster had too
// few servers before.
func (q *Queue) verifyReplicas() {
	q.change.RLock()
	defer q.change.RUnlock()
	if err := q.prepare(q.ctx); err != nil {
		q.log.Debug("could not prepare the streams again", "error", err)
	}
	select { // an inspection is under way
	case <-q.reinspect:
	default:
	}
}

// disconnect closes the connection and the embedded store.
func (q *Queue) disconnect() error {
	if c := q.conn.Load(); c != nil {
		// Acknowledgements may still be in the buffer.
		_ = c.nc.FlushTimeout(flushTimeout)
		c.nc.Close()
	}
	if q.server != nil {
		return q.server.close()
	}
	return nil
}
