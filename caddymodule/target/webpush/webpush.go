// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package webpush is the target "deliver webpush" as a module of Caddy: it sends to
// the devices that speak Web Push, which the app keeps, with keys in Caddy's storage.
package webpush

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/page"
	deliver "github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webpush"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func init() {
	caddy.RegisterModule(Webpush{})
}

const (
	// name is the name of the target. There is one, because a device
	// has one subscription.
	name = string(subscription.WebPush)
	// workers is how many messages are on their way at once: push
	// services answer after a tenth of a second, and take many at once.
	workers = 128
	// coalesce is how long a device is left alone after a mail of a
	// folder, so that a burst makes it ring a few times.
	coalesce = 2 * time.Second

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

	devices *deliver.Devices
	client  *http.Client
	keys    *vapidKeys
	log     *zap.Logger
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
	w.log = ctx.Logger()
	var err error
	if w.Contact, err = option.Replace(w.Contact); err != nil {
		return fmt.Errorf("contact: %w", err)
	}
	if w.Contact, err = deliver.ParseContact(w.Contact); err != nil {
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
	policy, err := outbound.NewPolicy(exceptions...)
	if err != nil {
		return fmt.Errorf("allow_endpoints: %w", err)
	}
	w.client = outbound.NewClient(outbound.Config{Policy: policy})
	w.keys = &vapidKeys{storage: ctx.Storage()}
	w.devices = &deliver.Devices{
		Sender: deliver.NewSender(deliver.Config{Client: w.client, Contact: w.Contact, Keys: w.keys.ring}),
		Policy: policy, MailContent: w.Content, TTL: time.Duration(w.TTL), Texts: page.Texts(),
	}
	return nil
}

// Devices implements target.DeviceModule.
func (w *Webpush) Devices() target.DeviceSender { return w.devices }

// Target implements target.Module. The app delivers to the devices.
func (w *Webpush) Target() target.Target {
	return target.Target{Name: name, Coalesce: coalesce, Workers: workers}
}

// Start implements target.Lifecycle.
func (w *Webpush) Start(target.App) error {
	ctx, cancel := context.WithTimeout(context.Background(), vapidTimeout)
	defer cancel()
	if _, err := w.keys.ring(ctx); err != nil {
		// Mail must be taken in whatever is wrong here; every message tries again.
		w.log.Error("nothing can be delivered to devices before the VAPID keys can be read", zap.Error(err))
	}
	return nil
}

// Stop implements target.Lifecycle.
func (w *Webpush) Stop() {
	if w.client != nil {
		w.client.CloseIdleConnections()
	}
}

// CheckContact implements target.ContactHolder.
func (w *Webpush) CheckContact() (contact string, err error) {
	_, err = deliver.ParseContact(w.Contact)
	return w.Contact, err
}

// ServerKeys implements target.KeyHolder.
func (w *Webpush) ServerKeys(ctx context.Context) ([]target.ServerKey, error) {
	ring, err := w.keys.ring(ctx)
	return serverKeys(ring), err
}

// RotateServerKeys implements target.KeyHolder.
func (w *Webpush) RotateServerKeys(ctx context.Context, inUse map[string]int) ([]target.ServerKey, error) {
	ring, err := w.keys.rotate(ctx, inUse)
	return serverKeys(ring), err
}

func serverKeys(ring deliver.Ring) []target.ServerKey {
	keys := make([]target.ServerKey, len(ring))
	for i, key := range ring {
		keys[i] = target.ServerKey{Public: key.Public(), Created: key.Created}
	}
	return keys
}

// Interface guards.
var (
	_ caddy.Provisioner   = (*Webpush)(nil)
	_ target.DeviceModule = (*Webpush)(nil)
	_ target.Lifecycle    = (*Webpush)(nil)
	_ target.KeyHolder    = (*Webpush)(nil)
)
