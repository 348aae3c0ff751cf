// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package caddymodule provides the Caddy modules: the app dovecot_push, and the
// HTTP handlers dovecot_push_notify, dovecot_push_guard and dovecot_push_api. The
// targets are in the folders below target, the command line is in command.
//
// It connects Caddy's configuration, requests, storage and logs to the other
// packages, which do not import Caddy.
package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/catchup"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

func init() {
	caddy.RegisterModule(App{})
}

// App keeps the new-mail notifications of Dovecot and delivers them: to the
// Open-Xchange middleware, and to whatever else is configured. They come in
// through the HTTP handler `dovecot_push_notify`.
//
// In the Caddyfile this is the global option `dovecot_push`.
type App struct {
	// Where accepted notifications are stored until every target has them.
	// Default: an embedded store in Caddy's data directory.
	Queue *Queue `json:"queue,omitempty"`

	// The DoveAdm HTTP API of Dovecot, through which users are registered.
	// Default: none.
	DoveAdm *DoveAdm `json:"doveadm,omitempty"`

	// The targets that notifications are delivered to. Without a target they
	// are accepted, counted and dropped.
	TargetsRaw []json.RawMessage `json:"deliver,omitempty" caddy:"namespace=dovecot_push.targets inline_key=target"`

	// The IMAP server: people sign in there, and it is the alternative to
	// doveadm for registering them.
	IMAP *IMAP `json:"imap,omitempty"`

	// Whom Dovecot notifies for. Default: users with a device that wants push,
	// if there is a doveadm or an imap block.
	Register *Register `json:"register,omitempty"`

	// What is done about mails that Dovecot could not report. It is on wherever
	// users are registered, unless it is switched off here.
	CatchUp *CatchUp `json:"catch_up,omitempty"`

	// The preferences of devices that users add. Default: devices are notified
	// of all mail that is reported.
	DeviceDefaults *DeviceDefaults `json:"device_defaults,omitempty"`

	// What people can do with a mail from its notification. Default: nothing.
	Actions *Actions `json:"actions,omitempty"`

	targets []target.Module
	devices *devices // nil where no target sends to any
	streams *streams // nil where no site has an API
	log     *zap.Logger
	slog    *slog.Logger // the same, for the inner packages
	summary *logSummary
	events  *emitter

	tracing     *tracing
	traces      *traces
	healthCheck *healthCheck
	failures    *failures
	logins      map[string]*imap.Server   // where people sign in, by URL
	guards      []*guard.Guard            // of the endpoints
	endpoints   []adminapi.EndpointStatus // of the handlers, which tell of themselves

	names         *username.Names
	registrations *atomic.Pointer[registration.Reconciler] // nil before Start, and where nobody is registered

	catcher    *atomic.Pointer[catchup.Catcher] // nil before Start, and where nothing is caught up
	catchUpErr error                            // why not
	outages    *outages

	key    string // of the queue in the pool; empty while it is not open
	pooled pooledQueue
	engine *delivery.Engine
	opened chan struct{}
	begun  []target.Lifecycle           // what has to be stopped
	live   bool                         // counted in liveApps
	queue  *atomic.Pointer[queue.Queue] // nil before Start has opened it

	endReport func() // of what was started; nil before
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "dovecot_push",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision reads the configuration. It opens, dials and writes nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.log, a.slog = ctx.Logger(), ctx.Slogger()
	liveApps.Add(1)
	a.live = true
	a.opened = make(chan struct{})
	a.queue = new(atomic.Pointer[queue.Queue])
	a.registrations = new(atomic.Pointer[registration.Reconciler])
	a.catcher, a.outages = new(atomic.Pointer[catchup.Catcher]), newOutages(useMailServers())
	a.summary = newLogSummary(a.log)
	a.traces, a.healthCheck, a.tracing = new(traces), new(healthCheck), new(tracing)
	a.endpoints = []adminapi.EndpointStatus{} // not null in the status
	a.logins = make(map[string]*imap.Server)
	if a.Queue == nil {
		a.Queue = new(Queue)
	}
	if err := a.Queue.provision(); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	if a.DoveAdm != nil {
		if err := a.DoveAdm.provision(a.log, a.slog); err != nil {
			return err
		}
	}
	a.provisionNames()
	mods, err := ctx.LoadModule(a, "TargetsRaw")
	if err != nil {
		return fmt.Errorf("loading the targets: %w", err)
	}
	list, _ := mods.([]any)
	for _, mod := range list {
		t, ok := mod.(target.Module)
		if !ok {
			return fmt.Errorf("deliver: the module %T is no target", mod)
		}
		a.targets = append(a.targets, t)
	}
	a.devices = newDevices(a.targets)
	if err := a.provisionRegistration(); err != nil {
		return err
	}
	if err := a.provisionActions(ctx); err != nil {
		return err
	}
	if a.CatchUp != nil {
		if err := a.CatchUp.provision(); err != nil {
			return err
		}
	}
	if a.events, err = newEmitter(ctx); err != nil {
		return fmt.Errorf("loading the events app: %w", err)
	}
	return registerMetrics(ctx.GetMetricsRegistry(), a)
}

// Validate tells about contradictions in the configuration.
func (a *App) Validate() error {
	seen := make(map[string]bool)
	for _, t := range a.targets {
		name := t.Target().Name
		if !queue.ValidName(name) {
			return fmt.Errorf("deliver: the target name %q must be 1 to 64 of A-Z a-z 0-9 _ -", name)
		}
		if seen[name] {
			return fmt.Errorf("deliver: two targets are named %s; each needs its own name, because what waits is kept by it", name)
		}
		seen[name] = true
	}
	if err := a.DeviceDefaults.validate(); err != nil {
		return err
	}
	if a.devices != nil {
		return a.devices.validate()
	}
	if a.DeviceDefaults != nil {
		return errors.New("device_defaults: no target delivers to devices, such as deliver webpush")
	}
	if a.Actions != nil {
		return errors.New("actions: no target delivers to devices, such as deliver webpush")
	}
	return nil
}

// Start opens the queue, or takes over the open one from the configuration
// before this one, and begins to deliver.
func (a *App) Start() error {
	ctx := context.Background()
	cfg := a.queueConfig()
	cfg.Observe = observeCommit
	q, err := a.openQueue(ctx, cfg)
	if err != nil {
		return err
	}
	targets, err := a.startTargets(q)
	if err != nil {
		return err
	}
	a.failures = newFailures(targets)
	a.engine, err = delivery.New(delivery.Config{
		Queue: q, Targets: targets, MaxAge: cfg.MaxAge, Logger: a.slog,
		Observe: a.observeAttempt, Paused: a.observePause,
	})
	if err != nil {
		return err
	}
	if err := a.engine.Start(ctx); err != nil {
		return err
	}
	if a.devices != nil {
		a.devices.startSummaries(a)
	}
	if err := a.startRegistration(q); err != nil {
		return err
	}
	if err := a.startCatchUp(q); err != nil {
		return err
	}
	a.summary.start()
	a.queue.Store(q)
	close(a.opened)
	a.endReport = a.reportStart(q)
	if len(a.targets) == 0 {
		a.log.Warn("no target is configured: notifications are accepted, counted and dropped; add a deliver block")
	}
	return nil
}

// Stop ends the deliveries that are under way. Notifications are still
// accepted until the HTTP servers have stopped.
func (a *App) Stop() error {
	if a.engine != nil {
		a.engine.Stop()
	}
	a.stopTargets()
	a.stopCatchUp()
	a.stopRegistration()
	a.summary.stop()
	if a.endReport != nil {
		a.endReport()
	}
	return nil
}

// Cleanup gives the queue back.
func (a *App) Cleanup() error {
	var err error
	if a.live {
		liveApps.Add(-1)
		err = releaseMailServers()
		a.live = false
	}
	err = errors.Join(err, a.Stop()) // another app's failed start leaves this one running
	a.closeDoveAdm()
	if a.streams != nil {
		err = errors.Join(err, a.streams.cleanup(a))
	}
	return errors.Join(err, a.closeQueue())
}

// accept stores a notification. HTTP servers may start before the app does:
// requests wait for the queue to be open.
func (a *App) accept(ctx context.Context, r queue.Record, window time.Duration) (duplicate bool, err error) {
	select {
	case <-a.opened:
	case <-ctx.Done():
		return false, fmt.Errorf("%w: it is still being opened", queue.ErrUnavailable)
	}
	r.TraceParent = a.tracing.parentOf(ctx)
	a.traces.storing(&r)
	start := time.Now()
	duplicate, err = a.queue.Load().Accept(ctx, r, window)
	if err != nil && !errors.Is(err, queue.ErrTooLarge) {
		a.outages.unstored(r.Body)
	}
	a.traces.stored(r.ID, time.Since(start), duplicate, err)
	return duplicate, err
}

// Interface guards.
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
