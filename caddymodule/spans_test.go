// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// The delivery is a span in the trace of the request, as long as it took.
func TestTracing(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	ctx, request := provider.Tracer("test").Start(context.Background(), "request")
	tr := new(tracing)
	parent := tr.parentOf(ctx)
	require.NotEmpty(t, parent)
	request.End()
	exporter.Reset()

	tr.ended(&delivery.Attempt{
		Target: "middleware", ID: notification.Identity{0xab}, TraceParent: parent, Attempts: 3, Age: time.Minute,
		Result: delivery.Result{Reason: "expired"}, Dead: true,
	})
	spans := exporter.GetSpans()
	require.Len(t, spans, 1)
	span := spans[0]
	assert.Equal(t, "dovecot_push.delivery", span.Name)
	assert.Equal(t, request.SpanContext().TraceID(), span.SpanContext.TraceID())
	assert.Equal(t, request.SpanContext().SpanID(), span.Parent.SpanID())
	assert.InDelta(t, time.Minute, span.EndTime.Sub(span.StartTime), float64(time.Millisecond))
	got := make(map[string]string)
	for _, a := range span.Attributes {
		got[string(a.Key)] = a.Value.String()
	}
	assert.Equal(t, map[string]string{
		"dovecot_push.target": "middleware", "dovecot_push.id": "ab000000000000000000000000000000",
		"dovecot_push.outcome": "dead_letter", "dovecot_push.attempts": "3",
	}, got)
	assert.Equal(t, "expired", span.Status.Description)
}

func TestNoTracing(t *testing.T) {
	tr := new(tracing)
	require.Empty(t, tr.parentOf(context.Background()))
	tr.ended(&delivery.Attempt{TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
	provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
	ctx, span := provider.Tracer("test").Start(context.Background(), "request")
	defer span.End()
	require.Empty(t, tr.parentOf(ctx), "what is not sampled is not stored")
}
