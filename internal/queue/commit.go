// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// writeTimeout is how long one write may take before the queue counts as
	// unavailable.
	writeTimeout = 5 * time.Second
	// answerTimeout is how long a NATS server may take to answer a group.
	// After that the queue looks whether the server answers anything, and
	// writes the group again.
	answerTimeout = 750 * time.Millisecond
	// writePause is how long the next attempt waits at least.
	writePause = 50 * time.Millisecond
	// repeatWindow is how long a stream recognises a group that is written
	// again.
	repeatWindow = 10 * time.Second
)

// Accept stores one notification and returns once it is durable.
//
// A notification with the same ID that was accepted less than window ago, or
// is being written right now, is not stored again: duplicate is true then, and
// the promise is the same. A window of 0 stores in any case.
//
// Errors: [ErrFull], [ErrTooLarge], [ErrUnavailable], [ErrClosed]. After an
// error the notification may still have been stored (a write that timed out),
// never the other way round.
func (q *Queue) Accept(ctx context.Context, r Record, window time.Duration) (duplicate bool, err error) {
	limit := q.maxRecord()
	if r.maxSize() > limit {
		return false, fmt.Errorf("%w: %d bytes, the queue takes %d", ErrTooLarge, len(r.Body), limit-recordOverhead)
	}
	c, duplicate, err := q.batcher.add(ctx, &r, window, min(limit, maxGroupBytes))
	if c == nil {
		return duplicate, err
	}
	return duplicate, c.wait(ctx)
}

// commitLoop writes groups, one after the other: whatever arrives while a write
// is in flight goes into the next group, so one fsync serves as many requests
// as there are. It ends when the batcher is closed and empty.
func (q *Queue) commitLoop() {
	for {
		c := q.batcher.take()
		if c == nil {
			return
		}
		start := time.Now()
		err := q.write(c)
		took := time.Since(start)
		q.observe.commit(c.records, took, err)
		q.batcher.finish(c, took, err)
	}
}

// write publishes one group. The count in the subject lets the server say how
// many notifications wait without anybody reading them.
//
// It waits for an unavailable store as long as callers wait for the group. A
// NATS server gets the group again if it does not answer. The ID keeps the
// group from being stored twice.
func (q *Queue) write(c *commit) error {
	msg := &nats.Msg{
		Subject: q.names.in + "." + strconv.Itoa(c.records),
		Header:  nats.Header{jetstream.ExpectedStreamHeader: {q.names.stream}},
		Data:    c.group,
	}
	timeout := writeTimeout
	if q.server == nil {
		timeout = answerTimeout
		msg.Header[jetstream.MsgIDHeader] = []string{rand.Text()}
		if len(c.sharedIDs) > 0 {
			msg.Header[headerIDs] = []string{idEncoding.EncodeToString(c.sharedIDs)}
		}
	}
	hold, cancel := context.WithDeadline(q.ctx, c.began.Add(holdTime))
	defer cancel()
	for {
		q.available.wait(hold)
		err := q.promised()
		if err == nil {
			err = q.whileReady(q.ctx, timeout, func(ctx context.Context) error {
				number, err := q.conn.Load().writer.publish(ctx, msg)
				if err == nil {
					q.reached.Store(number)
				}
				return err
			})
		} else if err = fmt.Errorf("%w: %w", ErrUnavailable, err); !errors.Is(err, errNotInspected) {
			return err
		}
		if q.server != nil || !errors.Is(err, ErrUnavailable) {
			return err
		}
		select {
		case <-hold.Done():
			return err
		case <-time.After(writePause):
		}
		if q.available.away() > holdAtFirst {
			return err
		}
	}
}

// publish publishes one message to a stream and waits until it is on the disk,
// even if accepted notifications are synced at intervals: the groups it was
// made from are acknowledged next.
func (q *Queue) publish(ctx context.Context, stream string, msg *nats.Msg) error {
	return q.whileReady(ctx, writeTimeout, func(ctx context.Context) error {
		_, err := q.js().PublishMsg(ctx, msg, jetstream.WithExpectStream(stream), jetstream.WithRetryAttempts(0))
		if err == nil {
			err = q.persist(stream)
		}
		return err
	})
}

// whileReady calls write, and cancels it when the store no longer accepts
// writes.
func (q *Queue) whileReady(ctx context.Context, timeout time.Duration, write func(context.Context) error) error {
	if !q.isReady() { // at once, also while a repair takes its time
		return fmt.Errorf("%w: %w", ErrUnavailable, errNotReady)
	}
	q.change.RLock()
	defer q.change.RUnlock()
	if !q.isReady() {
		return fmt.Errorf("%w: %w", ErrUnavailable, errNotReady)
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// A store that failed answers nothing: do not wait for it.
	up := q.available.context()
	defer context.AfterFunc(up, cancel)()
	err := write(limited)
	if up.Err() != nil && errors.Is(err, context.Canceled) {
		err = errStoreFailed
	}
	err = storeError(err)
	switch {
	case errors.Is(err, ErrFull):
		q.full.Store(true)
		q.wakeRepair()
	case errors.Is(err, ErrUnavailable) && ctx.Err() == nil:
		q.available.clear()
		q.wakeRepair()
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

// storeError classifies the errors of a publish.
func storeError(err error) error {
	if err == nil {
		return nil
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode { //nolint:exhaustive // the others make no difference
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
