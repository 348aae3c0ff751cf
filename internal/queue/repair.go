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
	repairInterval = time.Second
	retryInterval  = 100 * time.Millisecond // while a NATS server is away
	unusedInterval = time.Minute
	flushTimeout   = time.Second
)

// repairLoop reopens the store whenever it has failed: the disk was full and
// has room again, the NATS cluster was restarted, a stream was removed.
func (q *Queue) repairLoop() {
	tick := time.NewTicker(repairInterval)
	defer tick.Stop()
	unused := time.NewTicker(unusedInterval)
	defer unused.Stop()
	soon := make(<-chan time.Time)
	wasReady, logged := q.isReady(), false
	for {
		select {
		case <-q.ctx.Done():
			return
		case <-unused.C:
			q.cleanUpUnused(false)
		case <-tick.C:
		case <-soon:
		case <-q.wake:
			if q.full.Swap(false) {
				q.cleanUpUnused(true)
				_ = q.trim(q.ctx, true)
			}
		}
		soon = nil
		if q.usable() {
			q.verify()
			continue
		}
		err := q.reopen()
		switch {
		case q.ctx.Err() != nil:
			return
		case err != nil:
			if q.server == nil {
				soon = time.After(retryInterval)
			}
			if !logged && (wasReady || q.available.away() > holdTime) {
				q.log.Error("the queue cannot store: notifications are answered with 503 until it can", "error", err)
				logged = true
			}
		default:
			if logged {
				q.log.Info("the queue can store again")
			}
			wasReady, logged = true, false
		}
	}
}

// usable reports whether the queue can store. If the embedded store has failed,
// writes fail at once from now on instead of waiting for the repair. If its disk
// hangs, a write fails when it has taken too long.
func (q *Queue) usable() bool {
	q.change.RLock() // while settings change the store may be closed for a moment
	defer q.change.RUnlock()
	failed := q.nc().IsClosed()
	if q.server != nil {
		healthy, err := q.checkServer()
		failed = failed || !healthy && err == nil
	}
	if failed {
		q.available.fail()
	}
	return q.isReady()
}

func (q *Queue) checkServer() (healthy bool, err error) {
	q.others.Lock()
	others := slices.Clone(q.others.streams)
	q.others.Unlock()
	return q.server.check([]string{q.names.stream, q.names.parkedStream, q.names.deadStream}, others)
}

// track includes another stream in the repair, such as that of a table or a
// log.
func (q *Queue) track(stream string) {
	q.others.Lock()
	defer q.others.Unlock()
	if !slices.Contains(q.others.streams, stream) {
		q.others.streams = append(q.others.streams, stream)
	}
}

func (q *Queue) reopen() error {
	if q.server == nil {
		return q.resume()
	}
	q.change.Lock()
	defer q.change.Unlock()
	if err := q.reconnect(); err != nil {
		return err
	}
	healthy, err := q.checkServer()
	if err != nil {
		return err
	}
	if !healthy {
		if err := q.server.probe(); err != nil {
			return err
		}
		if err := q.restart(q.ctx, *q.settings.Embedded); err != nil {
			return err
		}
	}
	return q.prepare(q.ctx)
}

// restart reopens the embedded store. q.change is held.
func (q *Queue) restart(ctx context.Context, cfg Embedded) error {
	_ = q.nc().FlushTimeout(flushTimeout) // acknowledgements on their way
	q.available.interrupt()               // watches of tables start again
	if err := q.server.restart(cfg); err != nil {
		return err
	}
	if q.nc().IsClosed() {
		return q.connect()
	}
	// The connection may not have noticed yet that its server is gone.
	if err := q.nc().ForceReconnect(); err != nil {
		return err
	}
	for !q.nc().IsConnected() {
		select {
		case <-ctx.Done():
			return q.notConnected()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (q *Queue) wakeRepair() {
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
