// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/signin"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/events"
	"github.com/dovecotpush/caddy-dovecot-push/internal/eventlog"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// streams is what event streams get their events from, and a target of the app. It
// is there when some site has an API.
type streams struct {
	state *streamState  // set by start
	ready chan struct{} // closed then
	held  bool          // something in the pool
}

// streamState is the state shared across reloads: the history of the event
// streams, and the sessions that were revoked.
type streamState struct {
	log     *eventlog.Log
	revoked *signin.Revocations
	logger  currentLogger
	owners  owners
}

// useSettings makes it go by the settings of a.
func (s *streamState) useSettings(a *App) {
	s.logger.to.Store(a.slog)
	s.log.SetReport(a.streamsChanged)
}

// streamStates holds them, by the identity of the queue they are kept in.
var streamStates = caddy.NewUsagePool()

// Destruct implements caddy.Destructor.
func (s *streamState) Destruct() error {
	s.log.Close()
	s.revoked.Close()
	return nil
}

// Probe implements target.Prober.
func (*streams) Probe(context.Context) (asked string, result target.Result) {
	return "nothing, it is a part of Caddy", target.Result{Outcome: target.Delivered}
}

// provideStreams makes the app deliver to event streams. It is called while
// the handlers are provisioned, before the app starts.
func (a *App) provideStreams() (*streams, error) {
	if a.streams != nil {
		return a.streams, nil
	}
	if slices.Contains(a.targetNames(), events.Name) {
		return nil, fmt.Errorf("deliver: a target is named %s, which is the name of the target of the event streams; choose another one", events.Name)
	}
	a.streams = &streams{ready: make(chan struct{})}
	a.targets = append(a.targets, a.streams)
	return a.streams, nil
}

func (s *streams) start(a *App, q *queue.Queue) error {
	value, _, err := streamStates.LoadOrNew(a.key, func() (caddy.Destructor, error) {
		logger := newCurrentLogger(a.slog)
		log := slog.New(logger)
		return &streamState{
			log:     eventlog.Open(eventlog.Config{Queue: q, Shared: a.Queue.NATS != nil, Logger: log}),
			revoked: signin.WatchRevocations(q.Table("sessions"), log),
			logger:  logger,
		}, nil
	})
	if err != nil {
		return err
	}
	s.state, s.held = value.(*streamState), true
	s.state.owners.add(a)
	s.state.useSettings(a)
	close(s.ready)
	return nil
}

// cleanup gives back what is in the pool: what streams need stays until they have
// ended. The queue is still open.
func (s *streams) cleanup(a *App) error {
	if !s.held {
		return nil
	}
	s.held = false
	if successor := s.state.owners.leave(a); successor != nil {
		s.state.useSettings(successor)
	}
	_, err := streamStates.Delete(a.key)
	return err
}

// Target implements target.Module.
func (s *streams) Target() target.Target {
	t := target.Target{Name: events.Name, Workers: events.Workers}
	if s.isStarted() {
		t.Deliverer = &events.Target{Log: s.state.log, Decoder: target.Decoder}
	}
	return t
}

func (s *streams) isStarted() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// Subscribes reports whether a user has event streams.
func (s *streams) Subscribes(user string) bool { return s.isStarted() && s.state.log.Wants(user) }

// await waits for the app to have started: HTTP servers may do so before.
func (s *streams) await(ctx context.Context) (*streamState, error) {
	select {
	case <-s.ready:
		return s.state, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: it is still being opened", queue.ErrUnavailable)
	}
}

func (s *streams) openStream(ctx context.Context, user, lastID string, wake func()) (*eventlog.Stream, eventlog.Start, error) {
	state, err := s.await(ctx)
	if err != nil {
		return nil, eventlog.Now, err
	}
	return state.log.Open(ctx, user, lastID, wake)
}

func (s *streams) revoked(ctx context.Context, session signin.Session) (bool, error) {
	state, err := s.await(ctx)
	if err != nil {
		return false, err
	}
	return state.revoked.Revoked(ctx, session)
}

func (s *streams) revoke(ctx context.Context, session signin.Session, until time.Time) error {
	state, err := s.await(ctx)
	if err != nil {
		return err
	}
	return state.revoked.Revoke(ctx, session, until)
}

// Interface guards.
var (
	_ target.Module = (*streams)(nil)
	_ target.Prober = (*streams)(nil)
)
