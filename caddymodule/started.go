// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// reportTimeout bounds how long the report waits for what the store holds.
const reportTimeout = 2 * time.Second

// reportStart writes the line of the log that tells an operator what this
// configuration does: what listens, what is delivered to, where the queue is and
// how much waits in it. Nothing waits for it, but the function that it returns.
func (a *App) reportStart(q *queue.Queue) (end func()) {
	ctx, cancel := context.WithTimeout(context.Background(), reportTimeout)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		a.report(ctx, q)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (a *App) report(ctx context.Context, q *queue.Queue) {
	endpoints := make([]string, len(a.endpoints))
	for i, e := range a.endpoints {
		endpoints[i] = strings.Join(e.Listen, " ") + " " + e.Path
	}
	fields := []zap.Field{
		zap.String("version", version.Module), zap.Strings("endpoints", endpoints),
		zap.Strings("targets", a.targetNames()), zap.String("queue", a.Queue.place()),
	}
	if stats, err := q.Stats(ctx, a.targetNames()); err == nil {
		fields = append(fields, zap.Uint64("waiting", stats.Waiting))
	} else {
		fields = append(fields, zap.Error(err))
	}
	a.log.Info("started", fields...)
}

// place is where the queue is.
func (q *Queue) place() string {
	if n := q.NATS; n != nil {
		return strings.Join(n.URLs, " ")
	}
	return q.Embedded.Path
}
