// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/problem"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/subscriptions"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webpush"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func init() {
	caddy.RegisterModule(Webpush{})
}

const (
	// webpushName is the name of the target. There is one, because a device
	// has one subscription.
	webpushName = "webpush"
	// webpushWorkers is how many messages are on their way at once: push
	// services answer after a tenth of a second, and take many at once.
	webpushWorkers = 128
	// webpushCoalesce is how long a device is left alone after a mail of a
	// folder, so that a burst makes it ring a few times.
	webpushCoalesce = 2 * time.Second

	defaultTTL = 24 * time.Hour
	// maxTTL is four weeks, after which every push service has given up.
	maxTTL = 28 * 24 * time.Hour
)

// Webpush delivers notifications to the phones and browsers that people have
// subscribed on the page of `dovecot_push_api`: Web Push (RFC 8030), encrypted
// for the device. No account with a push service is needed.
//
// The keys by which push services know this server are made when they are
// first needed, and kept in Caddy's storage.
type Webpush struct {
	// The contact for operators of push services: an address such as
	// mailto:postmaster@example.com, or an https:// URL. Placeholders are
	// replaced. Required, because some push services refuse messages without
	// it, or if its host is not on the Internet.
	Contact string `json:"contact"`

	// How much of a mail is sent to a device: `thin` (folder, UID, number of
	// unseen messages), `sender` (also From and Subject) or `full` (also the
	// beginning of the text). Push services cannot read any of it. If a message
	// would be too long, whole members are left out. Default: sender.
	Content notification.Content `json:"content,omitempty"`

	// How long a push service keeps a message for a device that is off, at most
	// four weeks. It keeps only the newest message of each folder. Default:
	// 24h.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// Push services on your own network: 10.1.0.0/16, push.internal.example,
	// push.internal.example:8443 or http://10.1.2.3:8080. Users choose the
	// addresses of push services, so anything but a host on the Internet on
	// port 443 is otherwise refused. Placeholders are replaced.
	AllowEndpoints []string `json:"allow_endpoints,omitempty"`

	policy *outbound.Policy
	client *http.Client
	keys   *vapidKeys
	sender *webpush.Sender
	log    *slog.Logger

	store   *subscription.Store // nil before start
	api     http.Handler
	started chan struct{}
}

// CaddyModule returns the Caddy module information.
func (Webpush) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "dovecot_push.targets.webpush",
		New: func() caddy.Module { return new(Webpush) },
	}
}

// Provision reads the configuration.
func (w *Webpush) Provision(ctx caddy.Context) error {
	w.log = ctx.Slogger()
	w.started = make(chan struct{})
	var err error
	if w.Contact, err = option.Replace(w.Contact); err != nil {
		return fmt.Errorf("contact: %w", err)
	}
	if w.Contact, err = webpush.ParseContact(w.Contact); err != nil {
		return err
	}
	if w.Content == "" {
		w.Content = notification.Sender
	}
	if !w.Content.Valid() {
		return fmt.Errorf("content must be thin, sender or full, not %q", w.Content)
	}
	if w.TTL == 0 {
		w.TTL = caddy.Duration(defaultTTL)
	}
	if ttl := time.Duration(w.TTL); ttl < time.Second || ttl > maxTTL {
		return errors.New("ttl must be between a second and four weeks (28d)")
	}
	exceptions := make([]string, len(w.AllowEndpoints))
	for i, e := range w.AllowEndpoints {
		if exceptions[i], err = option.Replace(e); err != nil {
			return fmt.Errorf("allow_endpoints: %w", err)
		}
	}
	if w.policy, err = outbound.NewPolicy(exceptions...); err != nil {
		return fmt.Errorf("allow_endpoints: %w", err)
	}
	w.client = outbound.NewClient(outbound.Config{Policy: w.policy})
	w.keys = &vapidKeys{storage: ctx.Storage()}
	w.sender = webpush.NewSender(webpush.Config{Client: w.client, Contact: w.Contact, Keys: w.keys.ring})
	return nil
}

// start implements resident.
func (w *Webpush) start(a *App, q *queue.Queue) error {
	ctx, cancel := context.WithTimeout(context.Background(), vapidTimeout)
	defer cancel()
	if _, err := w.keys.ring(ctx); err != nil {
		// Mail must be taken in whatever is wrong here; every message tries again.
		w.log.Error("nothing can be delivered to devices before the VAPID keys can be read", "error", err)
	}
	w.store = subscription.New(subscription.Config{
		Table: q.Table("subscriptions"), Logger: w.log, Changed: a.devicesChanged,
	})
	w.store.Start()
	w.api = subscriptions.New(subscriptions.Config{
		Store: w.store, Sender: w.sender, Keys: w.keys.ring, Policy: w.policy, Logger: w.log,
		Observe: observeSubscription,
	})
	close(w.started)
	return nil
}

// stop implements resident.
func (w *Webpush) stop() {
	if w.store != nil {
		w.store.Stop()
	}
	if w.client != nil {
		w.client.CloseIdleConnections()
	}
}

// Lane implements Target.
func (w *Webpush) Lane() delivery.Target {
	target := &webpush.Target{
		Sender: w.sender, Subscriptions: w.store, Decoder: decoder, Content: w.Content, TTL: time.Duration(w.TTL),
	}
	return delivery.Target{
		Name: webpushName, Deliverer: target, Destinations: target.Destinations,
		Coalesce: webpushCoalesce, Workers: webpushWorkers,
	}
}

// ServeHTTP serves the part of the user API that is about devices, to the user
// who is signed in. Paths are below that of the API.
func (w *Webpush) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	select {
	case <-w.started:
		w.api.ServeHTTP(rw, r)
	case <-r.Context().Done():
		problem.Write(rw, problem.Problem{Status: http.StatusServiceUnavailable})
	}
}

// applicationServerKey is what browsers subscribe with.
func (w *Webpush) applicationServerKey(ctx context.Context) (string, error) {
	ring, err := w.keys.ring(ctx)
	if err != nil {
		return "", err
	}
	return ring[0].Public(), nil
}

// webpush is the target of that kind, or nil.
func (a *App) webpush() *Webpush {
	for _, t := range a.targets {
		if w, ok := t.(*Webpush); ok {
			return w
		}
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner = (*Webpush)(nil)
	_ Target            = (*Webpush)(nil)
	_ resident          = (*Webpush)(nil)
)
