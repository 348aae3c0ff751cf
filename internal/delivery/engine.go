// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package delivery hands what is in the queue to the targets.
//
// In come the records of a queue, out go calls of [Target.Deliver]. Each
// target has a lane of its own (reader, workers, gate), so that one which
// hangs or fails changes nothing for the others:
//
//   - A notification that fails is parked in the queue with its number of
//     attempts and the time of the next one, and does not hold up those
//     behind it. After max_age it becomes a dead letter.
//   - A target that fails again and again counts as down: its gate closes,
//     the backlog stays in the queue, and single attempts find out when the
//     target is back.
//
// To add a kind of target, write a package below this one with a type that
// implements [Target], and a module for it in caddymodule.
package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Target is something notifications are delivered to.
type Target interface {
	// Deliver makes one attempt. It returns soon after ctx ends, and is
	// called by many goroutines at once. It must not keep the record.
	Deliver(ctx context.Context, r *queue.Record) Result
}

// Destination is one of several places a target delivers a notification to,
// such as one device of its user.
type Destination struct {
	// Key tells it from all others of the target, and stays the same as long
	// as the destination exists. It is kept with what waits for another
	// attempt. At most 128 printable ASCII characters.
	Key string
	// Service is what this destination shares with others and fails together
	// with them, such as the host of a push service. Default: Key.
	Service string
}

// Lane is one target of an engine, and how it is served.
type Lane struct {
	// Name of the target, unique, see [queue.ValidName].
	Name   string
	Target Target
	// Wants, if set, tells whether the target wants a notification at all.
	// What it does not want is done. It is called in the way of everything
	// else of the lane, and must not keep the record.
	Wants func(r *queue.Record) bool
	// Destinations, if set, names the destinations of one notification. Each
	// is served on its own: attempts, outcomes and pauses of one change
	// nothing for the others. Deliver is then called once for each, with its
	// Key in the record's Destination. None means that there is nothing to
	// do; an error is a passing failure, unless it is [ErrRefused].
	//
	// It is asked again before each later attempt: what is not named any more
	// is gone. It is called in the way of everything else of the lane, so it
	// answers from memory, and must not keep the record.
	Destinations func(ctx context.Context, r *queue.Record) ([]Destination, error)
	// Coalesce, if not 0, is how long after an attempt the next one for the
	// same destination, user and folder waits, and only the newest of those
	// that came meanwhile is delivered. For devices, which show what is new,
	// and not for receivers that count.
	Coalesce time.Duration
	// Workers is how many attempts are made at once, at most half of them at
	// the same service. Default: 32.
	Workers int
	// Timeout bounds one attempt. Default: 30 s.
	Timeout time.Duration
}

// Defaults of a lane.
const (
	// DefaultWorkers is as many as Caddy's reverse_proxy keeps connections to
	// a node open for.
	DefaultWorkers = 32
	DefaultTimeout = 30 * time.Second
)

// All lanes of an engine share these, each an equal part of them.
const (
	// maxAttempts is how many attempts, and so connections, are made at once.
	maxAttempts = 1024
	// maxMemory is how many bytes of notifications are held; what is beyond
	// stays in the queue. maxLaneMemory is as much as helps a single lane.
	maxMemory     = 64 << 20
	maxLaneMemory = 8 << 20
)

// Config of an engine.
type Config struct {
	Queue *queue.Queue
	Lanes []Lane
	// MaxAge is how long after its acceptance a notification is attempted.
	MaxAge time.Duration
	// Logger gets what an operator should know. Required.
	Logger *slog.Logger
	// Observe, if set, is told of every attempt and of what came of it.
	Observe func(Attempt)
	// Paused, if set, is told when a target pauses because it is down or
	// refuses us, and when it is back.
	Paused func(target string, paused bool, r Result)
}

// Engine delivers. See [New].
type Engine struct {
	lanes   []*lane
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
	parts := max(len(cfg.Lanes), 1)
	seen := make(map[string]bool)
	for _, l := range cfg.Lanes {
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
		e.lanes = append(e.lanes, newLane(l, cfg, min(maxMemory/parts, maxLaneMemory)))
	}
	return e, nil
}

// Start makes the queue keep notifications for every lane, then begins to
// deliver. ctx bounds the start only.
func (e *Engine) Start(ctx context.Context) error {
	names := make([]string, len(e.lanes))
	for i, l := range e.lanes {
		names[i] = l.Name
	}
	release, err := e.queue.Use(ctx, names)
	if err != nil {
		return fmt.Errorf("preparing the targets: %w", err)
	}
	e.release = release
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	for _, l := range e.lanes {
		e.wg.Go(func() { l.run(run) })
	}
	return nil
}

// Stop ends the attempts that are under way and waits for them. What was not
// delivered stays in the queue. It may be called more than once.
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
	// Down tells that it pauses: it failed again and again, or refuses us.
	Down bool
	// InFlight is how many attempts are under way.
	InFlight int
	// Oldest is when the oldest notification that is being worked on was
	// accepted; zero if there is none. What is parked for later is not
	// counted.
	Oldest time.Time
}

// Status of the named target.
func (e *Engine) Status(target string) Status {
	for _, l := range e.lanes {
		if l.Name == target {
			return Status{Down: l.gate.isDown(), InFlight: int(l.inFlight.Load()), Oldest: l.holdings.oldest()}
		}
	}
	return Status{}
}

// Down reports whether the named target pauses.
func (e *Engine) Down(target string) bool { return e.Status(target).Down }
