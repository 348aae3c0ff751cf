// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package fcm is the target "deliver fcm" as a module of Caddy: it sends to the apps that
// use Firebase Cloud Messaging, which the app keeps.
package fcm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/firstuse"
	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	deliver "github.com/dovecotpush/caddy-dovecot-push/internal/delivery/fcm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func init() {
	caddy.RegisterModule(FCM{})
}

const (
	// name is the name of the target. There is one, because a device is there once.
	name = string(subscription.FCM)
	// workers is how many messages are on their way at once.
	workers = 128
	// coalesce is how long a device is left alone after a mail of a folder.
	coalesce = 2 * time.Second

	defaultTTL = 24 * time.Hour
	// maxTTL is what FCM keeps a message for at most.
	maxTTL = 28 * 24 * time.Hour
)

// FCM delivers notifications to apps on Android, by Firebase Cloud Messaging (HTTP v1).
// It is for publishers of an app: the app gives its registration token to the API of
// `dovecot_push_api`.
type FCM struct {
	// The service account with which this server identifies itself to Google: the
	// content of the JSON file from the settings of the Firebase project, as a
	// placeholder such as {file./etc/caddy/firebase.json}. Required.
	ServiceAccount string `json:"service_account"`

	// How much of a mail is sent to a device: `thin` (folder, UID, number of unseen
	// messages), `sender` (also From and Subject) or `full` (also the beginning of the
	// text). All but `thin` need `sealed`. If a message would be too long, whole
	// members are left out. Default: thin.
	Content notification.Content `json:"content,omitempty"`

	// Encrypts all messages for the device, so that Google cannot read them. The app
	// then registers a public key, and decrypts.
	Sealed bool `json:"sealed,omitempty"`

	// Makes the system show a notification with the app's text new_mail while the app
	// is not open. Default: the app gets data only, and shows what it likes.
	Notification bool `json:"notification,omitempty"`

	// How long FCM keeps a message for a device that is off, at most four weeks. It
	// keeps only the newest message of each of four folders. Default: 24h.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// Where FCM is. Placeholders are replaced. Default: https://fcm.googleapis.com.
	Endpoint string `json:"endpoint,omitempty"`

	devices *deliver.Devices
	storage certmagic.Storage
	log     *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (FCM) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "dovecot_push.targets.fcm",
		New: func() caddy.Module { return new(FCM) },
	}
}

// Provision reads the configuration.
func (f *FCM) Provision(ctx caddy.Context) error {
	f.storage, f.log = ctx.Storage(), ctx.Logger()
	if err := f.provision(); err != nil {
		return fmt.Errorf("fcm: %w", err)
	}
	return nil
}

func (f *FCM) provision() error {
	if f.Content == "" {
		f.Content = notification.Thin
	}
	if f.TTL == 0 {
		f.TTL = caddy.Duration(defaultTTL)
	}
	if f.Endpoint == "" {
		f.Endpoint = deliver.Endpoint
	}
	ttl := time.Duration(f.TTL)
	switch {
	case !f.Content.Valid():
		return fmt.Errorf("content must be thin, sender or full, not %q", f.Content)
	case f.Content != notification.Thin && !f.Sealed:
		return fmt.Errorf("content %s needs sealed: Google could read it otherwise", f.Content)
	case ttl < time.Second || ttl > maxTTL:
		return errors.New("ttl must be between a second and four weeks (28d)")
	}
	var err error
	if f.Endpoint, err = option.Replace(f.Endpoint); err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	client, err := device.NewClient(false, f.Endpoint)
	if err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	file, err := option.Secret(f.ServiceAccount)
	if err != nil {
		return fmt.Errorf("service_account: %w", err)
	}
	account, err := deliver.NewAccount([]byte(file), func(origin string) (*http.Client, error) { return device.NewClient(false, origin) })
	if err != nil {
		return err
	}
	f.devices = &deliver.Devices{
		Client: client, Endpoint: strings.TrimRight(f.Endpoint, "/"), Account: account,
		MailContent: f.Content, Sealed: f.Sealed, Notification: f.Notification, TTL: ttl,
	}
	return nil
}

// Devices implements target.DeviceModule.
func (f *FCM) Devices() target.DeviceSender { return f.devices }

// Target implements target.Module. The app delivers to the devices.
func (f *FCM) Target() target.Target {
	return target.Target{Name: name, Coalesce: coalesce, Workers: workers}
}

// Start implements target.Lifecycle. The age of the key begins with it.
func (f *FCM) Start(target.App) error {
	if _, err := firstuse.Of(context.Background(), f.storage, name, f.devices.Account.KeyID); err != nil {
		f.log.Warn("the age of the key is not known", zap.Error(err))
	}
	return nil
}

// Stop implements target.Lifecycle.
func (f *FCM) Stop() {}

// ServiceKey implements target.ServiceKeyHolder.
func (f *FCM) ServiceKey(ctx context.Context) (key target.ServiceKey, err error) {
	key.ID = f.devices.Account.KeyID
	key.Used, err = firstuse.Of(ctx, f.storage, name, key.ID)
	var unknown error
	key.Ends, unknown = f.devices.Account.KeyEnds(ctx)
	return key, errors.Join(err, unknown)
}

// Probe implements target.Prober.
func (f *FCM) Probe(ctx context.Context) (asked string, result target.Result) {
	return fmt.Sprintf("a message of the project %s to a device that does not exist, with the key %s", f.devices.Account.Project, f.devices.Account.KeyID), f.devices.Probe(ctx)
}

// Cleanup closes the connections that are not in use.
func (f *FCM) Cleanup() error {
	if f.devices != nil {
		f.devices.Client.CloseIdleConnections()
		f.devices.Account.Close()
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner   = (*FCM)(nil)
	_ caddy.CleanerUpper  = (*FCM)(nil)
	_ target.DeviceModule = (*FCM)(nil)
	_ target.Prober       = (*FCM)(nil)

	_ target.Lifecycle        = (*FCM)(nil)
	_ target.ServiceKeyHolder = (*FCM)(nil)
)
