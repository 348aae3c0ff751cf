// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// BenchmarkDeliver delivers what waits to a target that takes everything at
// once. The groups are as large as so many senders make them.
func BenchmarkDeliver(b *testing.B) {
	for _, senders := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			q, err := queue.Open(b.Context(), queue.Config{
				Embedded: &queue.Embedded{Path: b.TempDir()}, MaxBytes: 4 << 30, MaxAge: time.Hour,
				Logger: slog.New(slog.DiscardHandler),
			})
			require.NoError(b, err)
			defer q.Close()
			release, err := q.Use(b.Context(), []string{"a"})
			require.NoError(b, err)
			defer release()
			fillQueue(b, q, senders, b.N)

			target := &counting{want: int64(b.N), all: make(chan struct{})}
			e, err := New(Config{
				Queue: q, Targets: []Target{{Name: "a", Deliverer: target}}, MaxAge: time.Hour, Logger: slog.New(slog.DiscardHandler),
			})
			require.NoError(b, err)
			b.ReportAllocs()
			b.ResetTimer()
			require.NoError(b, e.Start(b.Context()))
			<-target.all
			b.StopTimer()
			e.Stop()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "notifications/s")
		})
	}
}

func fillQueue(b *testing.B, q *queue.Queue, senders, n int) {
	b.Helper()
	body := make([]byte, 300)
	var (
		wg   sync.WaitGroup
		next atomic.Int64
	)
	for range senders {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				r := numbered(int(i))
				r.Mailbox, r.Body = notification.Mailbox(1+i%1000), body
				if _, err := q.Accept(context.Background(), r, 0); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// counting is a target that takes everything.
type counting struct {
	got, want int64
	all       chan struct{}
}

func (c *counting) Deliver(context.Context, *queue.Record) Result {
	if atomic.AddInt64(&c.got, 1) == c.want {
		close(c.all)
	}
	return Result{Outcome: Delivered}
}
