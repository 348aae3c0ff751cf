// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/problem"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/subscriptions"
	"github.com/dovecotpush/caddy-dovecot-push/internal/action"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// devices are the devices of all users, of every kind that a target sends to.
type devices struct {
	senders []target.DeviceSender

	started chan struct{} // closed when the fields below are set
	store   *subscription.Store
	actions *action.Actions // nil where none are offered
	api     http.Handler
	// summaries are sent when devices are no longer quiet or muted.
	summaries *device.Summaries
}

// newDevices is nil where no target sends to devices.
func newDevices(targets []target.Module) *devices {
	d := &devices{started: make(chan struct{})}
	for _, t := range targets {
		if m, ok := t.(target.DeviceModule); ok {
			d.senders = append(d.senders, m.Devices())
		}
	}
	if len(d.senders) == 0 {
		return nil
	}
	return d
}

// kinds are the kinds that can be added.
func (d *devices) kinds() []string {
	names := make([]string, len(d.senders))
	for i, s := range d.senders {
		names[i] = s.Kind().Name()
	}
	return names
}

// validate reports whether there is one target for each kind.
func (d *devices) validate() error {
	seen := make(map[target.DeviceKind]bool)
	for _, s := range d.senders {
		if seen[s.Kind()] {
			return fmt.Errorf("deliver: two targets send to devices of the kind %s; there can be one", s.Kind())
		}
		seen[s.Kind()] = true
	}
	return nil
}

func (d *devices) start(a *App, q *queue.Queue) {
	cfg := subscription.Config{Table: q.Table("subscriptions"), Logger: a.slog, Changed: a.devicesChanged, Defaults: a.DeviceDefaults.preferences()}
	for _, s := range d.senders {
		cfg.Kinds = append(cfg.Kinds, s.Kind())
	}
	d.store = subscription.New(cfg)
	d.store.Start()
	d.actions = a.newActions(q, d)
	d.api = subscriptions.New(subscriptions.Config{
		Store: d.store, Senders: d.senders, Logger: a.slog, Observe: observeSubscription,
	})
	d.summaries = &device.Summaries{Subscriptions: d.store, Targets: make(map[string]string), Park: q.Park, Logger: a.slog}
	close(d.started)
}

// startSummaries is called when all targets are known and the queue keeps what is
// parked for them.
func (d *devices) startSummaries(a *App) {
	if source, err := a.catchUpSource(); err == nil {
		d.summaries.Unseen = func(ctx context.Context, user string) (uint32, error) {
			box, err := source.Mailbox(ctx, user)
			if err == nil && box.UIDValidity == 0 {
				err = errNoInbox
			}
			return box.Unseen, err
		}
	}
	d.summaries.Start()
}

var errNoInbox = errors.New("there is no INBOX")

func (d *devices) stop() {
	if d.isStarted() {
		d.summaries.Stop()
		d.store.Stop()
	}
}

func (d *devices) isStarted() bool {
	select {
	case <-d.started:
		return true
	default:
		return false
	}
}

// wait waits for the devices to be known.
func (d *devices) wait(ctx context.Context) error {
	select {
	case <-d.started:
		return d.store.Wait(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deliver makes a target deliver to the devices that m sends to.
func (d *devices) deliver(t *target.Target, m target.DeviceModule) {
	to := &device.Target{Sender: m.Devices(), Subscriptions: d.store, Decoder: target.Decoder}
	if d.actions != nil && m.Devices().Kind() == subscription.WebPush {
		to.Actions = d.actions.Offer
	}
	t.Deliverer, t.Destinations = to, to.Destinations
	d.summaries.Targets[to.Sender.Kind().Name()] = t.Name
}

// ServeHTTP serves the part of the user API that is about devices, to the user who
// is signed in. Paths are below that of the API.
func (d *devices) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-d.started:
		d.api.ServeHTTP(w, r)
	case <-r.Context().Done():
		problem.Write(w, problem.Problem{Status: http.StatusServiceUnavailable})
	}
}

// Subscribes reports whether a user has devices. Where that is not known, the user
// has: a registration in vain costs little.
func (d *devices) Subscribes(user string) bool {
	if !d.isStarted() {
		return false
	}
	devices, err := d.store.Of(user)
	return err != nil || len(devices) > 0
}

// keyHolder is the target whose devices are bound to a key of this server; nil
// if there is none.
func (a *App) keyHolder() target.KeyHolder {
	for _, t := range a.targets {
		if h, ok := t.(target.KeyHolder); ok {
			return h
		}
	}
	return nil
}

var errNoKey = errors.New("there is no key")

// applicationServerKey is what browsers subscribe with.
func (a *App) applicationServerKey(ctx context.Context) (string, error) {
	keys, err := a.keyHolder().ServerKeys(ctx)
	if err != nil {
		return "", err
	}
	if len(keys) == 0 {
		return "", errNoKey
	}
	return keys[0].Public, nil
}
