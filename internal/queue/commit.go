// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxGroupRecords and maxGroupBytes bound one group. A single larger
	// notification makes a group of its own.
	maxGroupRecords = 1024
	maxGroupBytes   = 512 << 10
	// writeTimeout is how long one write may take before the queue counts as
	// unavailable.
	writeTimeout = 5 * time.Second
)

// commit is one record on its way to the disk.
type commit struct {
	record Record
	// done is closed once err is final.
	done chan struct{}
	err  error
	// remembered tells that the window has an entry to settle.
	remembered bool
}

func (c *commit) wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return fmt.Errorf("%w: not written yet: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// Accept stores one notification and returns once it is durable.
//
// A notification with the same ID that was accepted less than window ago, or
// is being written right now, is not stored again: duplicate is true then, and
// the promise is the same. A window of 0 stores in any case.
//
// Errors: [ErrFull], [ErrTooLarge], [ErrUnavailable], [ErrClosed]. After an
// error the notification may still have been stored (a write that was given
// up on), never the other way round.
func (q *Queue) Accept(ctx context.Context, r Record, window time.Duration) (duplicate bool, err error) {
	if r.maxSize() > q.maxRecord() {
		return false, fmt.Errorf("%w: %d bytes, the queue takes %d", ErrTooLarge, len(r.Body), q.maxRecord()-recordOverhead)
	}
	c := &commit{record: r, done: make(chan struct{}), remembered: window > 0}
	if c.remembered {
		done, other := q.window.claim(r.ID, window, c)
		if done {
			return true, nil
		}
		if other != nil {
			return true, other.wait(ctx)
		}
	}
	if err := q.submit(ctx, c); err != nil {
		q.finish(c, err)
		return false, err
	}
	return false, c.wait(ctx)
}

func (q *Queue) submit(ctx context.Context, c *commit) error {
	q.closing.RLock()
	defer q.closing.RUnlock()
	if q.closed {
		return ErrClosed
	}
	select {
	case q.commits <- c:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: too many writes are waiting: %w", ErrUnavailable, context.Cause(ctx))
	}
}

func (q *Queue) finish(c *commit, err error) {
	if c.remembered {
		q.window.settle(c.record.ID, err == nil)
	}
	c.err = err
	close(c.done)
}

// commitLoop writes groups, one after the other: whatever arrives while a
// write is in flight goes into the next group, so one fsync serves as many
// requests as there are. It ends when q.commits is closed and empty.
func (q *Queue) commitLoop() {
	var (
		group  []*commit
		buffer []byte
		next   *commit
	)
	for {
		c := next
		next = nil
		if c == nil {
			var ok bool
			if c, ok = <-q.commits; !ok {
				return
			}
		}
		group = append(group[:0], c)
		buffer = appendRecord(append(buffer[:0], groupVersion), &c.record)
		limit := min(maxGroupBytes, q.maxRecord())
		// Whoever is about to submit goes first: on a busy machine the groups
		// get larger and the writes fewer, on an idle one nobody is.
		runtime.Gosched()
	gather:
		for len(group) < maxGroupRecords {
			select {
			case c, ok := <-q.commits:
				if !ok {
					break gather
				}
				if len(buffer)+c.record.maxSize() > limit {
					next = c
					break gather
				}
				group = append(group, c)
				buffer = appendRecord(buffer, &c.record)
			default:
				break gather
			}
		}
		start := time.Now()
		err := q.write(buffer, len(group))
		q.observe.commit(len(group), time.Since(start), err)
		for _, c := range group {
			q.finish(c, err)
		}
		clear(group)
		if cap(buffer) > 2*maxGroupBytes {
			buffer = nil
		}
	}
}

// write publishes one group. The count in the subject lets the server say how
// many notifications wait without anybody reading them.
func (q *Queue) write(group []byte, count int) error {
	msg := &nats.Msg{
		Subject: q.names.in + "." + strconv.Itoa(count),
		Header:  nats.Header{jetstream.ExpectedStreamHeader: {q.names.stream}},
		Data:    group,
	}
	return q.whileReady(q.ctx, func(ctx context.Context) error { return q.writer.publish(ctx, msg) })
}

// publish gives one message to a stream and waits until JetStream has it on
// disk (with "sync always") or has written it (with an interval).
func (q *Queue) publish(ctx context.Context, stream string, msg *nats.Msg) error {
	return q.whileReady(ctx, func(ctx context.Context) error {
		_, err := q.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(stream), jetstream.WithRetryAttempts(0))
		return err
	})
}

// whileReady lets write write, but no longer than the store takes writes.
func (q *Queue) whileReady(ctx context.Context, write func(context.Context) error) error {
	if !q.isReady() { // at once, also while a repair takes its time
		return fmt.Errorf("%w: %w", ErrUnavailable, errNotReady)
	}
	q.change.RLock()
	defer q.change.RUnlock()
	if !q.isReady() {
		return fmt.Errorf("%w: %w", ErrUnavailable, errNotReady)
	}
	limited, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	// A store that failed answers nothing: do not wait for it.
	defer context.AfterFunc(q.up, cancel)()
	err := write(limited)
	if q.up.Err() != nil && errors.Is(err, context.Canceled) {
		err = errStoreFailed
	}
	err = storeError(err)
	switch {
	case errors.Is(err, ErrFull):
		q.full.Store(true)
		q.wakeKeeper()
	case errors.Is(err, ErrUnavailable) && ctx.Err() == nil:
		q.ready.Store(false)
		q.wakeKeeper()
	}
	return err
}

// JetStream error codes that mean "no room" and that nats.go has no names for.
const (
	codeInsufficientResources   jetstream.ErrorCode = 10023
	codeMemoryExceeded          jetstream.ErrorCode = 10028
	codeAccountResourceExceeded jetstream.ErrorCode = 10002
	codeStorageExceeded         jetstream.ErrorCode = 10047
	codeStoreFailed             jetstream.ErrorCode = 10077
)

// storeError sorts what a publish can fail with.
func storeError(err error) error {
	if err == nil {
		return nil
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode { //nolint:exhaustive // the others are all the same to us
		case codeInsufficientResources, codeMemoryExceeded, codeAccountResourceExceeded, codeStorageExceeded:
			return fmt.Errorf("%w: %w", ErrFull, err)
		case codeStoreFailed:
			// One code for every failure of the store; the text of the one
			// that max_bytes causes is part of the server's interface.
			if api.Description == "maximum bytes exceeded" {
				return fmt.Errorf("%w: max_bytes reached", ErrFull)
			}
		case jetstream.JSErrCodeStreamMessageExceedsMaximum:
			return fmt.Errorf("%w: %w", ErrTooLarge, err)
		}
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
