// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/signin"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/events"
	"github.com/dovecotpush/caddy-dovecot-push/internal/eventlog"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// streams is the target that event streams get their events from. It is there
// when some site has an API.
type streams struct {
	known *known        // set by start
	ready chan struct{} // closed then
	held  bool          // something in the pool
}

// known is what outlives a reload for the users of an API: the history of the
// event streams, and the sessions that were ended.
type known struct {
	log     *eventlog.Log
	ended   *signin.Revocations
	logger  currentLogger
	holders holders
}

// follow makes it go by the settings of a.
func (k *known) follow(a *App) {
	k.logger.to.Store(a.log)
	k.log.SetReport(a.streamsChanged)
}

// knowns holds them, by the identity of the queue they are kept in.
var knowns = caddy.NewUsagePool()

// Destruct implements caddy.Destructor.
func (k *known) Destruct() error {
	k.log.Close()
	k.ended.Close()
	return nil
}

// Probe implements Prober.
func (*streams) Probe(context.Context) (asked string, result Result) {
	return "nothing, it is a part of Caddy", Result{Outcome: Delivered}
}

// provideStreams makes the app deliver to event streams. It is called while
// the handlers are provisioned, before the app starts.
func (a *App) provideStreams() (*streams, error) {
	for _, t := range a.targets {
		if s, ok := t.(*streams); ok {
			return s, nil
		}
	}
	for _, name := range a.targetNames() {
		if name == events.Name {
			return nil, fmt.Errorf("deliver: a target is named %s, which is the name of the target of the event streams; choose another one", name)
		}
	}
	s := &streams{ready: make(chan struct{})}
	a.targets = append(a.targets, s)
	return s, nil
}

// start implements resident.
func (s *streams) start(a *App, q *queue.Queue) error {
	value, _, err := knowns.LoadOrNew(a.key, func() (caddy.Destructor, error) {
		logger := newCurrentLogger(a.log)
		log := slog.New(logger)
		return &known{
			log:    eventlog.Open(eventlog.Config{Queue: q, Shared: a.Queue.NATS != nil, Logger: log}),
			ended:  signin.WatchRevocations(q.Table("sessions"), log),
			logger: logger,
		}, nil
	})
	if err != nil {
		return err
	}
	s.known, s.held = value.(*known), true
	s.known.holders.add(a)
	s.known.follow(a)
	close(s.ready)
	return nil
}

// stop implements resident. What streams need stays until they have ended.
func (*streams) stop() {}

// cleanup gives back what is in the pool. The queue is still open.
func (s *streams) cleanup(a *App) error {
	if !s.held {
		return nil
	}
	s.held = false
	if heir := s.known.holders.leave(a); heir != nil {
		s.known.follow(heir)
	}
	_, err := knowns.Delete(a.key)
	return err
}

// Lane implements Target.
func (s *streams) Lane() delivery.Target {
	lane := delivery.Target{Name: events.Name, Workers: events.Workers}
	if s.known != nil {
		lane.Deliverer = &events.Target{Log: s.known.log, Decoder: decoder}
	}
	return lane
}

// await waits for the app to have started: HTTP servers may do so before.
func (s *streams) await(ctx context.Context) (*known, error) {
	select {
	case <-s.ready:
		return s.known, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: it is still being opened", queue.ErrUnavailable)
	}
}

func (s *streams) openStream(ctx context.Context, user, lastID string, wake func()) (*eventlog.Stream, eventlog.Start, error) {
	k, err := s.await(ctx)
	if err != nil {
		return nil, eventlog.Now, err
	}
	return k.log.Open(ctx, user, lastID, wake)
}

func (s *streams) revoked(ctx context.Context, session signin.Session) (bool, error) {
	k, err := s.await(ctx)
	if err != nil {
		return false, err
	}
	return k.ended.Revoked(ctx, session)
}

func (s *streams) revoke(ctx context.Context, session signin.Session, until time.Time) error {
	k, err := s.await(ctx)
	if err != nil {
		return err
	}
	return k.ended.Revoke(ctx, session, until)
}

// Interface guards.
var (
	_ Target   = (*streams)(nil)
	_ resident = (*streams)(nil)
)
