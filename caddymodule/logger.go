// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// currentLogger is a slog.Handler for what outlives a configuration: it logs
// the way the newest one says.
type currentLogger struct{ to *atomic.Pointer[slog.Logger] }

func newCurrentLogger(log *slog.Logger) currentLogger {
	l := currentLogger{new(atomic.Pointer[slog.Logger])}
	l.to.Store(log)
	return l
}

func (l currentLogger) handler() slog.Handler { return l.to.Load().Handler() }

func (l currentLogger) Enabled(ctx context.Context, level slog.Level) bool {
	return l.handler().Enabled(ctx, level)
}

func (l currentLogger) Handle(ctx context.Context, r slog.Record) error {
	return l.handler().Handle(ctx, r)
}

func (l currentLogger) WithAttrs(attrs []slog.Attr) slog.Handler {
	return l.handler().WithAttrs(attrs)
}

func (l currentLogger) WithGroup(name string) slog.Handler { return l.handler().WithGroup(name) }
