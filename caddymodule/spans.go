// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
)

// tracing makes a span from the acceptance of a notification to its delivery,
// over the queue, as a child of the request that brought it. There are spans
// where the directive tracing stands in front of the endpoint: the provider is
// that of the newest traced request, because Caddy has none for what happens
// outside of requests.
type tracing struct{ provider atomic.Value }

const traceParent = "traceparent" // W3C Trace Context, section 3.2

type providerBox struct{ trace.TracerProvider }

// parentOf is what of the trace of a request is kept with its notification;
// empty without one.
func (t *tracing) parentOf(ctx context.Context) string {
	span := trace.SpanFromContext(ctx)
	if !span.SpanContext().IsSampled() {
		return ""
	}
	t.provider.Store(providerBox{span.TracerProvider()})
	carrier := make(propagation.MapCarrier, 1)
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceParent]
}

// ended makes the span of a notification that a target is done with. Nothing
// of the notification but its identity is in it.
func (t *tracing) ended(at *delivery.Attempt) {
	box, ok := t.provider.Load().(providerBox)
	if !ok || at.TraceParent == "" {
		return
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{traceParent: at.TraceParent})
	outcome := at.Result.Outcome.String()
	switch {
	case at.Dead:
		outcome = "dead_letter"
	case at.Coalesced:
		outcome = "coalesced"
	case at.Silenced:
		outcome = "silenced"
	}
	end := time.Now()
	_, span := box.Tracer("dovecot_push").Start(ctx, "dovecot_push.delivery",
		trace.WithTimestamp(end.Add(-at.Age)), trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(
			attribute.String("dovecot_push.target", at.Target),
			attribute.String("dovecot_push.id", at.ID.String()),
			attribute.String("dovecot_push.outcome", outcome),
			attribute.Int("dovecot_push.attempts", at.Attempts),
		))
	if at.Dead {
		span.SetStatus(codes.Error, at.Result.Reason)
	}
	span.End(trace.WithTimestamp(end))
}
