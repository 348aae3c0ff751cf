// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// discard is a ResponseWriter that costs nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header             { return d.header }
func (discard) Write(p []byte) (int, error)       { return len(p), nil }
func (discard) WriteHeader(int)                   {}
func (discard) SetReadDeadline(_ time.Time) error { return nil }

func BenchmarkServeHTTP(b *testing.B) {
	for _, bb := range []struct{ name, body, password string }{
		{"accepted", body, "secret"},
		{"throttled", body, "wrong"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			e := handler(b, func(h *Handler) {
				h.Logger = slog.New(slog.DiscardHandler)
				h.Observe = nil
				h.Accept = func(context.Context, queue.Record, time.Duration) (bool, error) { return false, nil }
			})
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				r := put("", func(r *http.Request) { r.SetBasicAuth("dovecot", bb.password) })
				r.ContentLength = int64(len(bb.body))
				w := discard{make(http.Header)}
				for pb.Next() {
					r.Body = io.NopCloser(strings.NewReader(bb.body))
					clear(w.header)
					e.ServeHTTP(w, r)
				}
			})
		})
	}
}
