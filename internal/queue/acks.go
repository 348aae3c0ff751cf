// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
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
	// maxLateAcks bounds how many of them are remembered. Further groups come
	// again.
	maxLateAcks = 4096
)

// lateAck is an acknowledgement that a NATS server did not confirm.
type lateAck struct {
	reply    string // where it is sent to
	parked   bool
	sequence uint64
	stored   time.Time // when the group was stored, which tells it from another one with its number
	since    time.Time
}

// lateAcks are repeated until a server confirms them: a server that was lost
// takes along what it was sent, and the others would deliver the group again.
type lateAcks struct {
	mu  sync.Mutex
	all []lateAck
}

func (l *lateAcks) add(a lateAck) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) < maxLateAcks {
		l.all = append(l.all, a)
	}
}

// take returns those of groups that have not come again yet, and forgets all.
func (l *lateAcks) take() (all []lateAck) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.all {
		if time.Since(a.since) < AckWait {
			all = append(all, a)
		}
	}
	l.all = nil
	return all
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
			for _, a := range q.lateAcks.take() {
				_ = q.nc().Publish(a.reply, ackDone)
			}
			return
		case <-tick.C:
		}
		if !q.isReady() {
			continue
		}
		all := q.lateAcks.take()
		for i, a := range all {
			if err := q.repeat(a); err != nil {
				q.log.Debug("could not repeat an acknowledgement", "error", err)
				for _, a := range all[i:] {
					q.lateAcks.add(a)
				}
				break
			}
		}
	}
}

// repeat sends an acknowledgement again, unless the group is gone: a server that
// lost something may have given its number to another one.
func (q *Queue) repeat(a lateAck) error {
	ctx, cancel := context.WithTimeout(q.ctx, requestTimeout)
	defer cancel()
	stream, err := q.js().Stream(ctx, q.streamOf(a.parked))
	if err != nil {
		return err
	}
	switch msg, err := stream.GetMsg(ctx, a.sequence); {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil
	case err != nil:
		return err
	case !msg.Time.Equal(a.stored):
		return nil
	}
	return q.acknowledge(a.reply, externalAckTimeout)
}
