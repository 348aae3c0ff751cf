// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

// serveQueue starts an endpoint with a real queue behind it.
func serveQueue(t *testing.T, maxBytes int64) (*endpoint, *queue.Queue) {
	cfg := queuetest.Config(t.TempDir())
	cfg.Embedded.Sync, cfg.MaxBytes = 0, maxBytes
	q := queuetest.Open(t, cfg)
	release, err := q.Use(t.Context(), []string{"target"})
	require.NoError(t, err)
	t.Cleanup(release)
	return serve(t, func(h *Handler) { h.Accept = q.Accept }), q
}

// stored reads what the queue has for its target.
func stored(t *testing.T, q *queue.Queue) (bodies []string) {
	reader := q.NewReader("target")
	for {
		groups, err := queuetest.Take(t, reader, 1)
		if errors.Is(err, queue.ErrNoMore) {
			return bodies
		}
		require.NoError(t, err)
		for _, record := range groups[0].Records {
			require.NotZero(t, record.Mailbox)
			require.WithinDuration(t, time.Now(), record.Accepted, time.Minute)
			bodies = append(bodies, string(record.Body))
		}
		require.NoError(t, groups[0].Ack())
	}
}

func TestQueue(t *testing.T) {
	unknownUID := strings.Replace(body, `"imap-uid":1`, `"imap-uid":0`, 1)
	at := func(date string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Date", date) }
	}
	const later = "Mon, 23 Nov 2026 16:56:12 GMT"
	tests := []struct {
		name    string
		first   *http.Request
		second  *http.Request
		results []Result
		stored  []string
	}{
		{"same again", put(body), put(body), []Result{Accepted, Duplicate}, []string{body}},
		{"same UID, other date", put(body), put(body, at(later)), []Result{Accepted, Duplicate}, []string{body}},
		{"UID 0, same date", put(unknownUID), put(unknownUID), []Result{Accepted, Duplicate}, []string{unknownUID}},
		{"UID 0, other date", put(unknownUID), put(unknownUID, at(later)), []Result{Accepted, Accepted}, []string{unknownUID, unknownUID}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, q := serveQueue(t, 64<<20)
			c := client(t)
			require.Equal(t, 200, e.send(t, c, tt.first).status)
			require.Equal(t, 200, e.send(t, c, tt.second).status)
			require.Equal(t, tt.results, e.results)
			require.Equal(t, tt.stored, stored(t, q))
		})
	}
}

func TestQueueFull(t *testing.T) {
	e, q := serveQueue(t, 1<<20)
	c := client(t)
	taken := 0
	for i := range 20 {
		got := e.send(t, c, put(strings.Replace(padded(200<<10), `"imap-uid":1`, fmt.Sprintf(`"imap-uid":%d`, i+1), 1)))
		if got.status != 200 {
			require.Equal(t, 503, got.status)
			require.Equal(t, "1", got.header.Get("Retry-After"))
			require.Equal(t, QueueFull, e.result(t))
			break
		}
		taken++
	}
	require.Positive(t, taken)
	require.Less(t, taken, 20)
	require.Len(t, stored(t, q), taken, "nothing more and nothing less than was acknowledged")
}

func TestQueueClosed(t *testing.T) {
	e, q := serveQueue(t, 64<<20)
	require.NoError(t, q.Close())
	got := e.send(t, client(t), put(body))
	require.Equal(t, 503, got.status)
	require.Equal(t, "1", got.header.Get("Retry-After"))
	require.Equal(t, QueueUnavailable, e.result(t))
}

// blocked waits as the queue does that cannot write.
func blocked(ctx context.Context, _ queue.Record, _ time.Duration) (bool, error) {
	<-ctx.Done()
	return false, fmt.Errorf("%w: not written yet: %w", queue.ErrUnavailable, context.Cause(ctx))
}

func TestWaitTimeout(t *testing.T) {
	for want, configured := range map[time.Duration]time.Duration{1800 * time.Millisecond: 0, 300 * time.Millisecond: 300 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			e := handler(t, func(h *Handler) { h.Accept, h.WaitTimeout = blocked, configured })
			start := time.Now()
			w := httptest.NewRecorder()
			e.ServeHTTP(w, put(body))
			require.Equal(t, want, time.Since(start))
			require.Equal(t, 503, w.Code)
			require.Equal(t, "1", w.Header().Get("Retry-After"))
			require.Equal(t, QueueUnavailable, e.result(t))
		})
	}
}

// A mail server that hangs up does not keep from being stored what it sent.
func TestPeerHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var cause error
		e := handler(t, func(h *Handler) {
			h.Accept = func(ctx context.Context, _ queue.Record, _ time.Duration) (bool, error) {
				cancel()
				time.Sleep(time.Second)
				cause = ctx.Err()
				return false, nil
			}
		})
		e.ServeHTTP(httptest.NewRecorder(), put(body).WithContext(ctx))
		require.NoError(t, cause)
		require.Equal(t, Accepted, e.result(t))
	})
}
