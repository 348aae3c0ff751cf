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

// These functions call the target. A target may be anybody's code. A panic in
// it must not end the process: it is a temporary failure.

func (r *runner) callDeliver(ctx context.Context, rec *queue.Record) (result Result) {
	defer func() {
		if p := recover(); p != nil {
			r.panicked("Deliver", p)
			result = Result{Reason: reasonPanic, Err: errPanic}
		}
	}()
	return r.Deliverer.Deliver(ctx, rec)
}

// callWants treats a notification as wanted if Wants panics: Deliver then shows
// what is wrong.
func (r *runner) callWants(rec *queue.Record) (wants bool) {
	if r.Wants == nil {
		return true
	}
	defer func() {
		if p := recover(); p != nil {
			r.panicked("Wants", p)
			wants = true
		}
	}()
	return r.Wants(rec)
}

func (r *runner) callDestinations(ctx context.Context, rec *queue.Record) (all []Destination, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.panicked("Destinations", p)
			all, err = nil, errPanic
		}
	}()
	return r.Destinations(ctx, rec)
}

func (r *runner) callHold(j *job, done func(error)) {
	defer func() {
		if p := recover(); p != nil {
			r.panicked("Hold", p)
			done(errPanic)
		}
	}()
	j.hold(done)
}

// panicked logs a panic. Its value may hold anything, including parts of a
// mail, so only errors of the runtime are logged.
func (r *runner) panicked(in string, p any) {
	what := fmt.Sprintf("%T", p)
	if err, ok := p.(runtime.Error); ok {
		what = err.Error()
	}
	r.log.Error("the target panicked, which is a bug in it: the notification will be attempted again",
		"in", in, "panic", what, "stack", string(debug.Stack()))
}
