// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	keepInterval   = time.Second
	sweepInterval  = time.Minute
	prepareTimeout = 10 * time.Second
	flushTimeout   = time.Second
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
	return q.server.healthy(q.names.stream, q.names.parkedStream, q.names.deadStream)
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
	ctx, cancel := context.WithTimeout(q.ctx, prepareTimeout)
	defer cancel()
	if q.server != nil && !q.healthy() {
		if err := q.restart(ctx, *q.settings.Embedded); err != nil {
			return err
		}
	}
	return q.prepare(ctx)
}

// restart opens the embedded store anew. q.change is held.
func (q *Queue) restart(ctx context.Context, cfg Embedded) error {
	_ = q.nc.FlushTimeout(flushTimeout) // acknowledgements on their way
	if err := q.server.restart(cfg); err != nil {
		return err
	}
	// The connection may not have noticed yet that its server is gone.
	if err := q.nc.ForceReconnect(); err != nil {
		return err
	}
	return q.awaitConnection(ctx)
}

func (q *Queue) wakeKeeper() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// prepare makes the streams and the consumers of the targets in use, or gives
// those that exist their settings. Nothing may be accepted before: JetStream
// would drop a notification that no consumer is interested in.
func (q *Queue) prepare(ctx context.Context) error {
	replicas := 1
	if e := q.settings.External; e != nil && e.Replicas > 0 {
		replicas = e.Replicas
	}
	streams := []jetstream.StreamConfig{
		{
			Name:        q.names.stream,
			Description: "accepted notifications of Dovecot, in groups",
			Subjects:    []string{q.names.in + ".*"},
			Retention:   jetstream.InterestPolicy,
			Discard:     jetstream.DiscardNew,
			MaxBytes:    q.settings.MaxBytes,
		},
		{
			Name:        q.names.parkedStream,
			Description: "notifications waiting for their next attempt",
			Subjects:    []string{q.names.park + ".*"},
			Retention:   jetstream.WorkQueuePolicy,
			Discard:     jetstream.DiscardNew,
			MaxBytes:    q.settings.MaxBytes,
		},
		{
			Name:        q.names.deadStream,
			Description: "notifications a target gave up on",
			Subjects:    []string{q.names.dead + ".*"},
			Discard:     jetstream.DiscardOld,
			MaxBytes:    q.settings.MaxBytes,
			MaxAge:      deadLetterAge,
		},
	}
	for _, cfg := range streams {
		cfg.Storage = jetstream.FileStorage
		cfg.Replicas = replicas
		cfg.Duplicates = 100 * time.Millisecond // no message has an ID to compare
		if _, err := q.js.CreateOrUpdateStream(ctx, cfg); err != nil {
			return fmt.Errorf("preparing the stream %s: %w", cfg.Name, err)
		}
	}
	for target := range q.targets {
		for _, parked := range []bool{false, true} {
			if _, err := q.makeConsumer(ctx, target, parked); err != nil {
				return err
			}
		}
	}
	if q.up.Err() != nil {
		up, end := context.WithCancel(q.ctx)
		q.up = up
		q.down.Store(&end)
	}
	q.ready.Store(true)
	return nil
}

func (q *Queue) awaitConnection(ctx context.Context) error {
	for !q.nc.IsConnected() {
		select {
		case <-ctx.Done():
			return q.notConnected()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

func (q *Queue) notConnected() error {
	if err := q.connectErr.Load(); err != nil {
		return fmt.Errorf("not connected to the NATS server: %w", *err)
	}
	return errors.New("not connected to the NATS server")
}
