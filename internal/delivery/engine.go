// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package delivery delivers the notifications in a queue to targets.
//
// It calls [Deliverer.Deliver] for each record. Each target has its own runner
// (reader, workers, circuit breaker), so that a target that hangs or fails does
// not affect the others:
//
//   - A notification that fails is parked in the queue with its number of
//     attempts and the time of the next one. It does not hold up those behind
//     it. After max_age it becomes a dead letter.
//   - A target that fails repeatedly counts as down: its circuit breaker opens,
//     the backlog stays in the queue, and single probes find out when the
//     target is back.
//
// To add a kind of target, write a package below this one with a type that
// implements [Deliverer], and a module for it in caddymodule.
package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Deliverer delivers notifications to one receiver or service.
type Deliverer interface {
	// Deliver makes one attempt. It must return soon after ctx ends, is called
	// concurrently, and must not keep the record.
	Deliver(ctx context.Context, r *queue.Record) Result
}

// Destination is one of several places a target delivers a notification to,
// such as one device of its user.
type Destination struct {
	// Key identifies the destination within the target as long as it exists. It
	// is stored with notifications that wait for another attempt. At most 128
	// printable ASCII characters.
	Key string
	// Service is what this destination shares with others and fails together
	// with them, such as the host of a push service. Default: Key.
	Service string
	// Silenced, if not empty, is why the destination wants no message about this
	// notification, which is then done for it: one of a bounded set of words. It
	// is a metric label.
	Silenced string
	// Hold, if set, keeps what a silenced destination was not notified of. It is
	// called once and calls done, perhaps later, when that is kept: the
	// notification is not done before. With an error, it comes again. It must not
	// keep the record.
	Hold func(done func(error))
}

// Target is one target of an engine: its name, its deliverer and its options.
type Target struct {
	// Name of the target, unique, see [queue.ValidName].
	Name      string
	Deliverer Deliverer
	// Wants, if set, reports whether the target wants a notification at all.
	// Unwanted ones are done. It blocks everything else of the target, so it
	// must be fast. It must not keep the record.
	Wants func(r *queue.Record) bool
	// Destinations, if set, returns the destinations of one notification. Each
	// is served independently: attempts, outcomes and pauses of one do not
	// affect the others. Deliver is then called once for each, with its Key in
	// the record's Destination. None means that there is nothing to do. An
	// error is a temporary failure, unless it is [ErrRefused].
	//
	// It is called again before each later attempt: a destination that is no
	// longer returned is gone. It blocks everything else of the target, so it
	// must answer from memory. It must not keep the record.
	Destinations func(ctx context.Context, r *queue.Record) ([]Destination, error)
	// Coalesce, if not 0, is the minimum time between attempts for the same
	// destination, user and folder. Of the notifications that arrive in the
	// meantime, only the newest is delivered. It is meant for devices, which
	// show what is new, not for receivers that count.
	Coalesce time.Duration
	// Workers is how many attempts are made concurrently, at most half of them
	// at the same service. Default: 32.
	Workers int
	// Timeout bounds one attempt. Default: 30 s.
	Timeout time.Duration
}

// Defaults of a target.
const (
	// DefaultWorkers is as many as the connections that Caddy's reverse_proxy
	// keeps open to a node.
	DefaultWorkers = 32
	DefaultTimeout = 30 * time.Second
)

// All targets of an engine share these in equal parts.
const (
	// maxAttempts is how many attempts, and thus connections, are made
	// concurrently.
	maxAttempts = 1024
	// maxMemory is how many bytes of notifications are held. What exceeds it
	// stays in the queue. A single target gains nothing from more than
	// maxTargetMemory.
	maxMemory       = 64 << 20
	maxTargetMemory = 8 << 20
)

// Config of an engine.
type Config struct {
	Queue   *queue.Queue
	Targets []Target
	// MaxAge is how long after its acceptance delivery of a notification is
	// attempted.
	MaxAge time.Duration
	// Logger gets what an operator should know. Required.
	Logger *slog.Logger
	// Observe, if set, is called with every attempt and its result.
	Observe func(Attempt)
	// Paused, if set, is called when a target is paused because it is down or
	// refuses us, and when it is back.
	Paused func(target string, paused bool, r Result)
}

// Engine delivers. See [New].
type Engine struct {
	runners []*runner
	queue   *queue.Queue
	release func()
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// New returns an engine that has not been started.
func New(cfg Config) (*Engine, error) {
	e := &Engine{queue: cfg.Queue}
	if cfg.Observe == nil {
		cfg.Observe = func(Attempt) {}
	}
	if cfg.Paused == nil {
		cfg.Paused = func(string, bool, Result) {}
	}
	parts := max(len(cfg.Targets), 1)
	seen := make(map[string]bool)
	for _, l := range cfg.Targets {
		if seen[l.Name] {
			return nil, fmt.Errorf("two targets are named %s; each needs its own name", l.Name)
		}
		seen[l.Name] = true
		if l.Workers <= 0 {
			l.Workers = DefaultWorkers
		}
		l.Workers = min(l.Workers, max(maxAttempts/parts, 1))
		if l.Timeout <= 0 {
			l.Timeout = DefaultTimeout
		}
		e.runners = append(e.runners, newRunner(l, cfg, min(maxMemory/parts, maxTargetMemory)))
	}
	return e, nil
}

// Start makes the queue keep notifications for every target, then starts to
// deliver. ctx bounds the start only.
func (e *Engine) Start(ctx context.Context) error {
	names := make([]string, len(e.runners))
	for i, l := range e.runners {
		names[i] = l.Name
	}
	release, err := e.queue.Use(ctx, names)
	if err != nil {
		return fmt.Errorf("preparing the targets: %w", err)
	}
	e.release = release
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	for _, l := range e.runners {
		e.wg.Go(func() { l.run(run) })
	}
	return nil
}

// Stop ends the attempts in progress and waits for them. What was not delivered
// stays in the queue. It may be called more than once.
func (e *Engine) Stop() {
	if e.stop == nil {
		return
	}
	e.stop()
	e.wg.Wait()
	e.release()
}

// Status is what an engine knows about one of its targets.
type Status struct {
	// Down is whether it is paused: it failed repeatedly, or refuses us.
	Down bool
	// InFlight is how many attempts are in progress.
	InFlight int
	// Oldest is when the oldest notification in progress was accepted, or zero.
	// Parked notifications do not count.
	Oldest time.Time
}

// Status of the named target.
func (e *Engine) Status(target string) Status {
	for _, l := range e.runners {
		if l.Name == target {
			return Status{Down: l.breakers.isDown(), InFlight: int(l.inFlight.Load()), Oldest: l.inflight.oldest()}
		}
	}
	return Status{}
}

// Down reports whether the named target is paused.
func (e *Engine) Down(target string) bool { return e.Status(target).Down }
