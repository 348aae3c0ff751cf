// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/testlog"
)

// A target that panics fails, and does no harm to the others; what it panics
// with is not told.
func TestTargetPanics(t *testing.T) {
	q, _ := testQueue(t)
	var panics atomic.Int64
	panicking := newDevices("phone@a")
	panicking.answer = func(_ context.Context, _ string, n int) Result {
		if panics.Add(1); n%2 == 0 {
			panic(errors.New("secret subject"))
		}
		var none []int
		return Result{After: 0, Reason: string(rune(none[n]))}
	}
	works := newScripted(takes)
	var log testlog.Buffer
	reasons := make(chan string, 1000)
	start(t, q, map[string]*scripted{"works": works}, func(cfg *Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		cfg.Targets = append(cfg.Targets, panicking.target())
		cfg.Observe = func(a Attempt) {
			if a.Target == "devices" && a.Result.Outcome != Delivered {
				reasons <- a.Result.Reason
			}
		}
	})
	accept(t, q, 0, 2)
	require.Equal(t, reasonPanic, <-reasons)
	require.Equal(t, reasonPanic, <-reasons)
	accept(t, q, 2, 100)
	works.requireEach(t, 0, 100)
	panicking.change(func() { panicking.answer = newDevices().answer })
	panicking.requireEach(t, "phone@a", 0, 100)
	requireStats(t, q, map[string]queue.TargetStats{"works": {}, "devices": {}})
	assert.NotContains(t, log.String(), "secret")
	assert.Contains(t, log.String(), "*errors.errorString")
	assert.Contains(t, log.String(), "index out of range")
	assert.Contains(t, log.String(), "panic_test.go")
}

// What is asked before an attempt may panic as well.
func TestTargetPanicsBeforeAttempts(t *testing.T) {
	q, _ := testQueue(t)
	var panics atomic.Int64
	d := newDevices("phone@a")
	target := d.target()
	target.Wants = func(*queue.Record) bool { panics.Add(1); panic("wants") }
	destinations := target.Destinations
	var works atomic.Bool
	target.Destinations = func(ctx context.Context, r *queue.Record) ([]Destination, error) {
		if !works.Load() {
			panic("destinations")
		}
		return destinations(ctx, r)
	}
	failed := make(chan Attempt, 1000)
	startTargets(t, q, func(a Attempt) {
		if a.Result.Outcome != Delivered {
			failed <- a
		}
	}, target)
	accept(t, q, 0, 1)
	a := <-failed
	require.Equal(t, reasonDestinations, a.Result.Reason)
	require.ErrorIs(t, a.Result.Err, errPanic)
	works.Store(true)
	d.requireEach(t, "phone@a", 0, 1)
	require.NotZero(t, panics.Load())
	requireStats(t, q, map[string]queue.TargetStats{"devices": {}})
}
