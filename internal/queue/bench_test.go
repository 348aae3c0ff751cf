// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkAccept writes with an fsync each ("sync always"), from as many
// goroutines at once as a front has connections.
func BenchmarkAccept(b *testing.B) {
	for _, senders := range []int{1, 10, 32, 64, 256} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			q, writes := openForBenchmark(b)
			acceptAll(b, q, writes, senders)
		})
	}
}

// BenchmarkAcceptBacklog does the same while notifications wait for a target
// that takes none.
func BenchmarkAcceptBacklog(b *testing.B) {
	waiting := 1_000_000
	if testing.Short() {
		waiting = 200_000
	}
	q, writes := openForBenchmark(b)
	fill(b, q, waiting)
	for _, senders := range []int{1, 64} {
		b.Run(fmt.Sprintf("waiting=%d/senders=%d", waiting, senders), func(b *testing.B) {
			acceptAll(b, q, writes, senders)
		})
	}
}

// BenchmarkDrain takes notifications out: one reader, and the goroutines that
// acknowledge what it took. The groups are as large as few and many senders
// make them.
func BenchmarkDrain(b *testing.B) {
	for _, size := range []int{1, 32} {
		for _, workers := range []int{1, 16} {
			b.Run(fmt.Sprintf("group=%d/workers=%d", size, workers), func(b *testing.B) {
				q, _ := openForBenchmark(b)
				records := make([]Record, size)
				for i := range records {
					records[i] = record(uint64(i), 300)
				}
				group := []byte{groupVersion}
				for i := range records {
					group = appendRecord(group, &records[i])
				}
				for range b.N/size + 1 {
					require.NoError(b, q.write(&commit{group: group, records: size, began: time.Now()}))
				}
				groups := make(chan *Group)
				var wg sync.WaitGroup
				for range workers {
					wg.Go(func() {
						for g := range groups {
							if err := g.Ack(); err != nil {
								b.Error(err)
							}
						}
					})
				}
				reader := q.NewReader("target")
				b.ResetTimer()
				for n := 0; n < b.N; {
					g, err := take(b.Context(), reader)
					if errors.Is(err, ErrNoMore) {
						continue
					}
					require.NoError(b, err)
					n += len(g.Records)
					groups <- g
				}
				close(groups)
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "notifications/s")
			})
		}
	}
}

func openForBenchmark(b *testing.B) (*Queue, *atomic.Int64) {
	b.Helper()
	writes := new(atomic.Int64)
	q, err := Open(b.Context(), Config{
		Embedded: &Embedded{Path: b.TempDir()}, MaxBytes: 4 << 30, MaxAge: time.Hour, Logger: slog.New(slog.DiscardHandler),
		Observe: func(int, time.Duration, error) { writes.Add(1) },
	})
	require.NoError(b, err)
	b.Cleanup(func() { _ = q.Close() })
	release, err := q.Use(b.Context(), []string{"target"})
	require.NoError(b, err)
	b.Cleanup(release)
	return q, writes
}

// fill stores that many records, in groups as large as they get.
func fill(b *testing.B, q *Queue, records int) {
	b.Helper()
	for stored := 0; stored < records; stored += maxGroupRecords {
		group := []byte{groupVersion}
		for i := range maxGroupRecords {
			r := record(uint64(1<<40+stored+i), 300)
			group = appendRecord(group, &r)
		}
		require.NoError(b, q.write(&commit{group: group, records: maxGroupRecords, began: time.Now()}))
	}
}

func record(n uint64, size int) Record {
	r := Record{Accepted: time.Now(), Body: make([]byte, size)}
	binary.BigEndian.PutUint64(r.ID[:], n)
	return r
}

var benchmarkID atomic.Uint64

func acceptAll(b *testing.B, q *Queue, writes *atomic.Int64, senders int) {
	b.Helper()
	var (
		wg    sync.WaitGroup
		left  atomic.Int64
		took  = make([][]time.Duration, senders)
		start = writes.Load()
	)
	left.Store(int64(b.N))
	b.ResetTimer()
	for i := range senders {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				begin := time.Now()
				_, err := q.Accept(context.Background(), record(benchmarkID.Add(1), 300), time.Minute)
				if err != nil {
					b.Error(errors.Unwrap(err))
					return
				}
				took[i] = append(took[i], time.Since(begin))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "notifications/s")
	b.ReportMetric(float64(b.N)/float64(writes.Load()-start), "notifications/write")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}
