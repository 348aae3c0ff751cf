// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// ackReplyTimeout is how long to wait for the embedded server's answer to an
	// acknowledgement.
	ackReplyTimeout = AckWait / 3
	// externalAckTimeout is how long the answer of a NATS server may take. A
	// cluster that elects a leader may never answer.
	externalAckTimeout = answerTimeout
	// lateAckInterval is how often acknowledgements without an answer are
	// repeated.
	lateAckInterval = 500 * time.Millisecond
	// lateAckMemory is for how long. A group comes again after AckWait.
	lateAckMemory = AckWait + 5*time.Second
	// maxLateAcks bounds how many of them are remembered. Further groups come
	// again.
	maxLateAcks = 4096
)

// ackKey is of which group an acknowledgement is.
type ackKey struct {
	position
	parked bool
}

// lateAck is an acknowledgement that a NATS server did not confirm.
type lateAck struct {
	reply  string    // where it is sent to
	stored time.Time // when the group was stored, which tells it from another one with its number
	since  time.Time
}

// lateAcks are repeated until a server confirms them: a server that was lost
// takes along what it was sent, and the others would deliver the group again.
type lateAcks struct {
	mu  sync.Mutex
	all map[ackKey]lateAck
}

func (l *lateAcks) add(key ackKey, a lateAck) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[ackKey]lateAck)
	}
	if len(l.all) < maxLateAcks {
		l.all[key] = a
	}
}

func (l *lateAcks) remove(key ackKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, key)
}

// has reports whether the group was acknowledged: it came again because the store
// does not know that yet.
func (l *lateAcks) has(key ackKey, stored time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, late := l.all[key]
	return late && a.stored.Equal(stored)
}

// due returns all, and forgets those of groups that have come again since.
func (l *lateAcks) due() map[ackKey]lateAck {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.all, func(_ ackKey, a lateAck) bool { return time.Since(a.since) >= lateAckMemory })
	return maps.Clone(l.all)
}

// acknowledge sends an acknowledgement and waits for the answer.
func (q *Queue) acknowledge(reply string, timeout time.Duration) error {
	q.change.RLock()
	defer q.change.RUnlock()
	defer q.acked.Store(true)
	ctx, cancel := context.WithTimeout(q.available.context(), timeout)
	defer cancel()
	_, err := q.nc().RequestWithContext(ctx, reply, ackDone)
	return err
}

// ackLoop repeats acknowledgements until they are confirmed. The last attempt,
// when the queue is closed, waits for no answer.
func (q *Queue) ackLoop() {
	tick := time.NewTicker(lateAckInterval)
	defer tick.Stop()
	for {
		select {
		case <-q.ctx.Done():
			for _, a := range q.lateAcks.due() {
				_ = q.nc().Publish(a.reply, ackDone)
			}
			return
		case <-tick.C:
		}
		if !q.isReady() {
			continue
		}
		for key, a := range q.lateAcks.due() {
			if err := q.repeat(key, a); err != nil {
				q.log.Debug("could not repeat an acknowledgement", "error", err)
				break // the next attempt begins with another one
			}
		}
	}
}

// repeat sends an acknowledgement again, unless the group is gone: a server that
// lost something may have given its number to another one. One that is not found,
// and was not removed, is asked for again: the server that answered may not have had
// it yet.
func (q *Queue) repeat(key ackKey, a lateAck) error {
	ctx, cancel := context.WithTimeout(q.ctx, requestTimeout)
	defer cancel()
	stream, err := q.js().Stream(ctx, q.streamOf(key.parked))
	if err != nil {
		return err
	}
	msg, err := stream.GetMsg(ctx, key.sequence)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		if key.sequence >= stream.CachedInfo().State.FirstSeq {
			return nil
		}
		err = nil // removed, with all before it
	case err == nil && msg.Time.Equal(a.stored):
		err = q.acknowledge(a.reply, externalAckTimeout)
	}
	if err == nil {
		q.lateAcks.remove(key)
	}
	return err
}
