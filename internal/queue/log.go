// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// LogLimits bound a [Log]: older entries, and the oldest ones beyond the size,
// are dropped.
type LogLimits struct {
	Age   time.Duration
	Bytes int64
}

// Log is a bounded sequence of entries in the store of the queue. All users of
// the store read it in the same order. It is created when it is first written
// or read, and is safe for concurrent use.
type Log struct {
	q       *Queue
	stream  string
	subject string
	limits  LogLimits

	mu   sync.Mutex
	made bool

	last atomic.Uint64 // the number of the newest entry that is known
}

// LogEntry is one entry of a [Log].
type LogEntry struct {
	// Seq numbers the entries of one log from 1 on. It grows, but not always
	// by one.
	Seq uint64
	// Stored is when the store took the entry.
	Stored time.Time
	Data   []byte
}

// LogState is the state of a [Log] when a reader starts.
type LogState struct {
	// Made distinguishes this log from one of the same name that was lost with
	// the store, whose numbers had another meaning.
	Made time.Time
	// First is the number of the oldest entry that is still there, or if there
	// is none of the next to come.
	First uint64
	// Last is the number of the newest entry. It is less than that of an entry
	// that was read before only if the store has lost its end, and gives those
	// numbers out again.
	Last uint64
}

// Log returns the log with the given name (see [ValidName]). The same name
// gives the same entries. The last caller sets the limits.
func (q *Queue) Log(name string, limits LogLimits) *Log {
	return &Log{q: q, stream: q.names.stream + "_" + name, subject: q.names.stream + "." + name, limits: limits}
}

// Append adds an entry. It returns when that is as durable as an accepted
// notification. Errors: [ErrTooLarge], [ErrUnavailable].
func (l *Log) Append(ctx context.Context, data []byte) error {
	l.q.change.RLock()
	defer l.q.change.RUnlock()
	if err := l.open(ctx); err != nil {
		return err
	}
	write, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	defer context.AfterFunc(l.q.available.context(), cancel)()
	msg := &nats.Msg{Subject: l.subject, Data: data}
	_, err := l.q.js().PublishMsg(write, msg, jetstream.WithExpectStream(l.stream), jetstream.WithRetryAttempts(0))
	if err != nil {
		l.forget() // it was removed in the meantime: create it again
	}
	return storeError(err)
}

// Follow reads the log. It calls from with what there is, which returns the
// number of the last entry that is not wanted; then seen for every entry after
// that, and current once when there are no more for the moment. It ends with an
// error when ctx ends or the store fails; the caller calls it again for as long
// as it wants to go on.
func (l *Log) Follow(ctx context.Context, from func(LogState) (after uint64), seen func(LogEntry), current func()) error {
	return l.follow(ctx, from, func(entry LogEntry, _ nats.Header) { seen(entry) }, current)
}

func (l *Log) follow(ctx context.Context, from func(LogState) (after uint64), seen func(LogEntry, nats.Header), current func()) error {
	iter, caughtUp, err := l.read(ctx, from)
	if err != nil {
		return err
	}
	defer iter.Stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.q.change.RLock()
	up := l.q.available.context()
	l.q.change.RUnlock()
	defer context.AfterFunc(up, cancel)()
	if caughtUp {
		current()
	}
	for last := uint64(0); ; {
		msg, err := iter.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("%w: reading %s: %w", ErrUnavailable, l.stream, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("%w: reading %s: %w", ErrUnavailable, l.stream, err)
		}
		if last++; meta.Sequence.Consumer != last {
			return fmt.Errorf("%w: an entry of %s got lost on its way", ErrUnavailable, l.stream)
		}
		if err := l.persist(); err != nil {
			return err
		}
		l.last.Store(meta.Sequence.Stream)
		seen(LogEntry{Seq: meta.Sequence.Stream, Stored: meta.Timestamp, Data: msg.Data()}, msg.Headers())
		if meta.NumPending == 0 && !caughtUp {
			caughtUp = true
			current()
		}
	}
}

// read starts to read. caughtUp means that there is nothing to read yet.
func (l *Log) read(ctx context.Context, from func(LogState) uint64) (iter jetstream.MessagesContext, caughtUp bool, err error) {
	l.q.change.RLock()
	defer l.q.change.RUnlock()
	if err := l.open(ctx); err != nil {
		return nil, false, err
	}
	stream, err := l.q.js().Stream(ctx, l.stream)
	if err != nil {
		l.forget()
		return nil, false, storeError(err)
	}
	info := stream.CachedInfo()
	if info.State.LastSeq < l.last.Load() {
		if info.State, err = l.q.agreed(ctx, stream); err != nil {
			return nil, false, storeError(err)
		}
	}
	l.last.Store(info.State.LastSeq)
	after := from(LogState{Made: info.Created, First: max(info.State.FirstSeq, 1), Last: info.State.LastSeq})
	cons, err := stream.CreateConsumer(ctx, readerConfig(after))
	if err == nil {
		iter, err = cons.Messages()
	}
	if err != nil {
		return nil, false, storeError(err)
	}
	return iter, cons.CachedInfo().NumPending == 0, nil
}

// readerConfig is for one who reads a stream after the message of that number.
// Nothing is kept about this reader, which knows itself where it is.
func readerConfig(after uint64) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Description:       "one who reads along",
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       after + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: time.Minute,
	}
}

// Last asks the store for the number of the newest entry, 0 if there was none.
func (l *Log) Last(ctx context.Context) (uint64, error) {
	l.q.change.RLock()
	defer l.q.change.RUnlock()
	if err := l.open(ctx); err != nil {
		return 0, err
	}
	stream, err := l.q.js().Stream(ctx, l.stream)
	if err != nil {
		l.forget()
		return 0, storeError(err)
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// persist brings what was written to the disk. What was read has a number that
// readers tell others: after a power cut it must not be that of another entry.
func (l *Log) persist() error {
	l.q.change.RLock()
	defer l.q.change.RUnlock()
	return l.q.persist(l.stream)
}

// open makes the stream, or finds it and gives it its limits. q.change is held.
func (l *Log) open(ctx context.Context) error {
	if !l.q.isReady() {
		return fmt.Errorf("%w: %w", ErrUnavailable, errNotReady)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.made {
		return nil
	}
	cfg := jetstream.StreamConfig{
		Name:        l.stream,
		Description: "what all who share the queue read in the same order",
		Subjects:    []string{l.subject},
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardOld,
		MaxAge:      l.limits.Age,
		MaxBytes:    l.limits.Bytes,
		Replicas:    l.q.replicas(),
		Duplicates:  100 * time.Millisecond,
	}
	if err := l.q.ensureStream(ctx, cfg); err != nil {
		return storeError(err)
	}
	if err := l.q.persist(l.stream); err != nil {
		return err
	}
	l.q.track(l.stream)
	l.made = true
	return nil
}

func (l *Log) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made = false
}
