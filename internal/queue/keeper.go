// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	keepInterval  = time.Second
	sweepInterval = time.Minute
	flushTimeout  = time.Second
)

// keep brings the store back whenever it went away: the disk was full and has
// room again, the NATS cluster was restarted, a stream was removed.
func (q *Queue) keep() {
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	wasReady, told := q.isReady(), false
	for {
		select {
		case <-q.ctx.Done():
			return
		case <-sweep.C:
			q.sweep(false)
		case <-tick.C:
		case <-q.wake:
			if q.full.Swap(false) {
				q.sweep(true)
				_ = q.trim(q.ctx)
			}
		}
		if q.usable() {
			continue
		}
		err := q.reopen()
		switch {
		case q.ctx.Err() != nil:
			return
		case err != nil && !told:
			q.log.Error("the queue cannot store: notifications are answered with 503 until it can", "error", err)
			told = true
		case err == nil:
			if wasReady || told {
				q.log.Info("the queue can store again")
			}
			wasReady, told = true, false
		}
	}
}

// usable tells whether the queue can store. Where the embedded store failed,
// writes fail at once from now on instead of waiting for the repair.
func (q *Queue) usable() bool {
	q.change.RLock() // while settings change the store may be closed for a moment
	defer q.change.RUnlock()
	if q.server != nil && !q.healthy() {
		q.fail()
	}
	return q.isReady()
}

func (q *Queue) healthy() bool {
	if !q.server.healthy(q.names.stream, q.names.parkedStream, q.names.deadStream) {
		return false
	}
	q.others.Lock()
	defer q.others.Unlock()
	return q.server.writable(q.others.streams)
}

// lookAfter makes the keeper bring a stream back as well that is not one of
// the queue's own: that of a table or a log.
func (q *Queue) lookAfter(stream string) {
	q.others.Lock()
	defer q.others.Unlock()
	if !slices.Contains(q.others.streams, stream) {
		q.others.streams = append(q.others.streams, stream)
	}
}

// fail ends the writes that are under way, and lets all further ones fail
// until the store is prepared again.
func (q *Queue) fail() {
	q.ready.Store(false)
	if end := q.down.Load(); end != nil {
		(*end)()
	}
}

func (q *Queue) reopen() error {
	if q.server == nil && !q.nc.IsConnected() {
		return q.notConnected() // nobody need wait for this
	}
	q.change.Lock()
	defer q.change.Unlock()
	if q.server != nil && !q.healthy() {
		if err := q.server.probe(); err != nil {
			return err
		}
		if err := q.restart(q.ctx, *q.settings.Embedded); err != nil {
			return err
		}
	}
	return q.prepare(q.ctx)
}

// restart opens the embedded store anew. q.change is held.
func (q *Queue) restart(ctx context.Context, cfg Embedded) error {
	_ = q.nc.FlushTimeout(flushTimeout) // acknowledgements on their way
	if end := q.down.Load(); end != nil {
		(*end)() // those who watch a table begin anew
	}
	if err := q.server.restart(cfg); err != nil {
		return err
	}
	// The connection may not have noticed yet that its server is gone.
	if err := q.nc.ForceReconnect(); err != nil {
		return err
	}
	for !q.nc.IsConnected() {
		select {
		case <-ctx.Done():
			return q.notConnected()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (q *Queue) wakeKeeper() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *Queue) notConnected() error {
	if err := q.connectErr.Load(); err != nil {
		return fmt.Errorf("not connected to the NATS server: %w", *err)
	}
	return errors.New("not connected to the NATS server")
}
