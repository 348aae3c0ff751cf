// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// reasonPanic is the reason of an attempt in which the target panicked.
const reasonPanic = "panic"

var errPanic = errors.New("the target panicked")

// What follows calls the target. A target may be anybody's code, and a mistake
// in it must not end the process, and with it all the others: it is a passing
// failure.

func (l *lane) callDeliver(ctx context.Context, r *queue.Record) (result Result) {
	defer func() {
		if p := recover(); p != nil {
			l.panicked("Deliver", p)
			result = Result{Reason: reasonPanic, Err: errPanic}
		}
	}()
	return l.Target.Deliver(ctx, r)
}

// callWants takes for wanted what the target cannot tell anything about:
// Deliver says what is wrong.
func (l *lane) callWants(r *queue.Record) (wants bool) {
	if l.Wants == nil {
		return true
	}
	defer func() {
		if p := recover(); p != nil {
			l.panicked("Wants", p)
			wants = true
		}
	}()
	return l.Wants(r)
}

func (l *lane) callDestinations(ctx context.Context, r *queue.Record) (all []Destination, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.panicked("Destinations", p)
			all, err = nil, errPanic
		}
	}()
	return l.Destinations(ctx, r)
}

// panicked says where. What a panic says may hold anything, also of a mail:
// only what the runtime itself says is told.
func (l *lane) panicked(in string, p any) {
	what := fmt.Sprintf("%T", p)
	if err, ok := p.(runtime.Error); ok {
		what = err.Error()
	}
	l.log.Error("the target panicked, which is a mistake in it: the notification will be attempted again",
		"in", in, "panic", what, "stack", string(debug.Stack()))
}
