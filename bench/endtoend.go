// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webhook"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// enough connections to get large groups, see the part connections.
const manyConnections = 256

// endtoend measures from accepting a notification to the answer of a webhook,
// and beside it each half alone, which tells what limits it.
func (b *bench) endtoend() error {
	hook, err := b.receiver()
	if err != nil {
		return err
	}
	whole, err := b.caddy(b.binary, posting("sync always", hook.address))
	if err != nil {
		return err
	}
	front, err := b.caddy(b.binary, accepting("", "sync always"))
	if err != nil {
		return err
	}
	engine, err := b.engine(hook)
	if err != nil {
		return err
	}
	send := func(s *server) (result, error) {
		return load{address: s.address, connections: manyConnections, duration: *duration}.run()
	}
	contenders := []*contender{
		{name: "accepted over HTTP, the webhook has answered", server: whole, measure: func() (result, error) {
			return hook.while(func() (int64, error) {
				r, err := send(whole)
				return r.requests - r.failed, err
			})
		}},
		{name: "accepted over HTTP, no target", server: front, measure: func() (result, error) { return send(front) }},
		{name: "put into the queue in the process, the webhook has answered", measure: engine},
	}
	if err := compare("notifications/s", contenders...); err != nil {
		return err
	}
	judgeRate("accepted to answered, notifications/s", contenders[0], 15_000)
	judgeRate("the same without HTTP in front", contenders[2], 15_000)
	return nil
}

// judgeRate prints a rate and what it should be at least.
func judgeRate(what string, c *contender, wanted float64) {
	bound, rate := atLeast(wanted), c.median(result.rate)
	fmt.Printf("\n%s: %.0f (wanted: %v), %s.\n", what, rate, bound, bound.verdict(rate))
}

// engine is a queue and an engine in this process, which deliver to the same
// webhook. The processor time is that of all of this process.
func (b *bench) engine(hook *receiver) (measure func() (result, error), err error) {
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	q, err := queue.Open(ctx, queue.Config{
		Embedded: &queue.Embedded{Path: filepath.Join(b.dir, "engine")},
		MaxBytes: queueBytes, MaxAge: time.Hour, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	target, err := webhook.New(webhook.Config{URL: "http://" + hook.address + "/hook", Content: notification.Thin, Decoder: new(notification.Decoder)})
	if err != nil {
		return nil, err
	}
	e, err := delivery.New(delivery.Config{
		Queue: q, MaxAge: time.Hour, Logger: log,
		Targets: []delivery.Target{{Name: "w0", Deliverer: target, Wants: target.Wants}},
	})
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, closer(func() {
		e.Stop()
		target.Close()
		_ = q.Close()
	}))
	if err := e.Start(ctx); err != nil {
		return nil, err
	}
	return func() (result, error) {
		before, err := processorTime(os.Getpid())
		if err != nil {
			return result{}, err
		}
		r, err := hook.while(func() (int64, error) { return put(ctx, q) })
		if err != nil {
			return r, err
		}
		after, err := processorTime(os.Getpid())
		r.cpu = after - before
		return r, err
	}, nil
}

// put stores notifications as fast as they get durable.
func put(ctx context.Context, q *queue.Queue) (int64, error) {
	var (
		wg       sync.WaitGroup
		n        atomic.Int64
		failure  atomic.Pointer[error]
		deadline = time.Now().Add(*duration)
	)
	for range manyConnections {
		wg.Go(func() {
			for time.Now().Before(deadline) {
				if err := store(ctx, q); err != nil {
					failure.Store(&err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failure.Load(); err != nil {
		return 0, *err
	}
	return n.Load(), nil
}
