// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package eventlog keeps the events of the last hour for the event streams of
// users, so that a stream can be resumed where another one was interrupted.
//
// [Log.Offer] stores an event for one user. [Log.Open] opens a stream of the
// events of one user. Each stream gets its events in one order, with positions
// that mean the same on every Caddy that shares the store of the queue, or an
// indication that events are lost ([ErrSlow], [ErrLost], [Reset]).
//
// Events are stored only for users who may need them. A stream takes a lease
// for its user in a table of the queue. The lease lasts until the history has
// passed since the last stream ended. Without a lease no event is stored. Events
// are written to a log of the queue, many with one fsync. Every Caddy reads
// that log and keeps its content in memory, so that streams cost the store
// nothing, even if thousands reconnect at once after a reload.
package eventlog

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Bounds of the history.
const (
	// History is how long after its end a stream can be resumed.
	History = time.Hour
	// maxBytes bounds the history on disk, and in the memory of each Caddy.
	maxBytes = 32 << 20
	// maxEvents bounds how many events of one user are kept. A stream that falls
	// further behind ends with ErrSlow.
	maxEvents = 256
	// MaxStreams bounds how many streams one user has at each Caddy.
	MaxStreams = 100
)

// The errors of a [Log].
var (
	// ErrSlow means that events were dropped before the stream read them.
	ErrSlow = errors.New("the stream does not keep up")
	// ErrLost means that the history was lost with its store.
	ErrLost = errors.New("the history of the stream is lost")
	// ErrTooMany means that the user has [MaxStreams] streams.
	ErrTooMany = errors.New("the user has too many streams")
	// ErrClosed means that the log was closed.
	ErrClosed = errors.New("the event log is closed")
)

// Config of a [Log].
type Config struct {
	Queue *queue.Queue
	// Shared says that other processes use the same store at the same time.
	Shared bool
	// Logger gets what an operator should know. Required.
	Logger *slog.Logger
}

// Log is the history. It is safe for concurrent use.
type Log struct {
	cfg     Config
	store   *queue.Log
	leases  *queue.Table
	appends chan *pending
	wake    chan struct{} // wakes maintain
	timing  timing

	historyRead, leasesRead once // closed when what is stored is known

	mu         sync.Mutex
	topics     map[string]*topic
	leased     int // topics with a lease that holds, or held when maintain last ran
	history    history
	recent     recent
	report     Report
	unreported map[string]struct{} // users whose streams have not been reported

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// timing is what tests make shorter.
type timing struct {
	history, lease, renew, tick, retry time.Duration
}

// defaultTiming: a lease is renewed early enough that it outlasts a stream
// that breaks off at any moment by the history.
var defaultTiming = timing{
	history: History, lease: History + 30*time.Minute, renew: History + 5*time.Minute, tick: time.Minute, retry: time.Second,
}

// Report is called when the first stream of a user was opened (streaming), and
// when there has been none for the time of the history. It may be called with
// the same values again. After an error it is called again later.
type Report func(ctx context.Context, user string, streaming bool) error

// topic holds the lease, events and streams of one user.
type topic struct {
	user     string
	lease    time.Time // until when it is known to hold
	revision uint64    // of the lease in the table; 0 if it is not there
	events   []*Event  // oldest first
	dropped  uint64    // the last position that was dropped
	streams  []*Stream
	opening  int // streams that wait for the lease
}

// Open opens the log. The stored events and leases are read in the background.
// [Log.Open] and [Log.Offer] wait for that.
func Open(cfg Config) *Log { return open(cfg, defaultTiming) }

func open(cfg Config, timing timing) *Log {
	l := &Log{
		cfg:         cfg,
		store:       cfg.Queue.Log("events", queue.LogLimits{Age: timing.history, Bytes: maxBytes}),
		leases:      cfg.Queue.Table(leaseTable),
		appends:     make(chan *pending, maxBatch),
		wake:        make(chan struct{}, 1),
		timing:      timing,
		historyRead: newOnce(),
		leasesRead:  newOnce(),
		topics:      make(map[string]*topic),
		unreported:  make(map[string]struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.appendLoop)
	l.wg.Go(l.maintain)
	l.wg.Go(func() { l.keep("events", l.followStore) })
	l.wg.Go(func() { l.keep("leases", l.followLeases) })
	return l
}

// SetReport sets the function that the users who have streams are reported to.
func (l *Log) SetReport(r Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report = r
}

// Close ends everything. The queue must still be open.
func (l *Log) Close() {
	l.cancel()
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.topics {
		t.fail(ErrClosed)
	}
}

// keep calls read again whenever it returns, until the log is closed.
func (l *Log) keep(what string, read func(context.Context) error) {
	logged := false
	for l.ctx.Err() == nil {
		start := time.Now()
		err := read(l.ctx)
		if l.ctx.Err() != nil {
			return
		}
		if time.Since(start) > l.timing.tick {
			logged = false
		}
		if !logged {
			logged = true
			l.cfg.Logger.Warn("the event streams wait for the store", "what", what, "error", err)
		}
		select {
		case <-l.ctx.Done():
		case <-time.After(l.timing.retry):
		}
	}
}

// once is something that happens once.
type once struct {
	done chan struct{}
	do   *sync.Once
}

func newOnce() once { return once{make(chan struct{}), new(sync.Once)} }

func (o once) happen() { o.do.Do(func() { close(o.done) }) }

// wait waits until what was stored has been read.
func (l *Log) wait(ctx context.Context, reads ...once) error {
	for _, o := range reads {
		select {
		case <-o.done:
		case <-l.ctx.Done():
			return ErrClosed
		case <-ctx.Done():
			return errors.Join(queue.ErrUnavailable, context.Cause(ctx))
		}
	}
	return nil
}

// topic returns the topic of a user. l.mu is held.
func (l *Log) topic(user string) *topic {
	t := l.topics[user]
	if t == nil {
		t = &topic{user: user}
		l.topics[user] = t
	}
	return t
}
