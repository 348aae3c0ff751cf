// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package queuetest opens queues for the tests of what is on top of them.
package queuetest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Config is that of an embedded queue in a directory, silent, with room for
// 64 MiB, whose disk is not waited for.
func Config(dir string) queue.Config {
	return queue.Config{
		Embedded: &queue.Embedded{Path: dir, Sync: time.Minute},
		MaxBytes: 64 << 20, MaxAge: time.Hour, Logger: slog.New(slog.DiscardHandler),
	}
}

// Open opens a queue that is closed at the end of t. Opened again, it finds
// what was stored.
func Open(t testing.TB, cfg queue.Config) *queue.Queue {
	t.Helper()
	q, err := queue.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, q.Close()) })
	return q
}

// Take takes up to most groups that are there, or fails with [queue.ErrNoMore]:
// a reader would wait for the first.
func Take(t testing.TB, r *queue.Reader, most int) ([]*queue.Group, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return r.Take(ctx, most, 1<<30)
}
