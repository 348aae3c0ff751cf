// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package apns is the target "deliver apns" as a module of Caddy: it sends to the apps
// on Apple's devices, which the app keeps.
package apns

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/firstuse"
	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	deliver "github.com/dovecotpush/caddy-dovecot-push/internal/delivery/apns"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func init() {
	caddy.RegisterModule(APNs{})
}

const (
	// name is the name of the target. There is one, because a device is there once.
	name = string(subscription.APNs)
	// workers is how many messages are on their way at once. APNs takes a thousand
	// on a connection.
	workers = 128
	// coalesce is how long a device is left alone after a mail of a folder.
	coalesce = 2 * time.Second

	defaultTTL = 24 * time.Hour
	// maxTTL is what APNs keeps a message for at most.
	maxTTL = 30 * 24 * time.Hour
)

// APNs delivers notifications to apps on Apple's devices, by the Apple Push
// Notification service. It is for publishers of an app: the app gives its device
// token to the API of `dovecot_push_api`.
type APNs struct {
	// The private key with which this server identifies itself to APNs: the content
	// of the .p8 file from Apple, as a placeholder such as
	// {file./etc/caddy/AuthKey_ABC123DEFG.p8}. Required.
	Key string `json:"key"`

	// The ID of the key, which Apple shows beside it. Placeholders are replaced.
	// Required.
	KeyID string `json:"key_id"`

	// The ID of the team that the apps belong to. Placeholders are replaced. Required.
	TeamID string `json:"team_id"`

	// The bundle identifiers of the apps. Placeholders are replaced. Required.
	Topics []string `json:"topics"`

	// How much of a mail is sent to a device: `thin` (folder, UID, number of unseen
	// messages), `sender` (also From and Subject) or `full` (also the beginning of the
	// text). All but `thin` need `sealed`. If a message would be too long, whole
	// members are left out. Default: thin.
	Content notification.Content `json:"content,omitempty"`

	// Encrypts all messages for the device, so that Apple cannot read them. The app
	// then registers a public key, and its notification service extension decrypts.
	Sealed bool `json:"sealed,omitempty"`

	// How long APNs keeps a message for a device that is off, at most 30 days. It
	// keeps only one message of each app. Default: 24h.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// Where APNs is, for instance https://api.push.apple.com:2197 if a firewall blocks
	// port 443. Placeholders are replaced. Default: https://api.push.apple.com.
	Endpoint string `json:"endpoint,omitempty"`

	// Where APNs is for apps in development. Placeholders are replaced. Default:
	// https://api.sandbox.push.apple.com.
	SandboxEndpoint string `json:"sandbox_endpoint,omitempty"`

	devices  *deliver.Devices
	provider string // its key in providers
	storage  certmagic.Storage
	log      *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (APNs) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "dovecot_push.targets.apns",
		New: func() caddy.Module { return new(APNs) },
	}
}

// providers outlive a reload: APNs refuses those who make tokens too often.
var providers = caddy.NewUsagePool()

// pooled is a provider in the pool.
type pooled struct{ *deliver.Provider }

// Destruct implements caddy.Destructor.
func (pooled) Destruct() error { return nil }

// topicName is what Apple allows in a bundle identifier.
var topicName = regexp.MustCompile(`^[A-Za-z0-9.-]{1,155}$`)

// Provision reads the configuration.
func (a *APNs) Provision(ctx caddy.Context) error {
	a.storage, a.log = ctx.Storage(), ctx.Logger()
	if err := a.provision(); err != nil {
		return fmt.Errorf("apns: %w", err)
	}
	return nil
}

func (a *APNs) provision() error {
	for _, to := range []*string{&a.KeyID, &a.TeamID, &a.Endpoint, &a.SandboxEndpoint} {
		var err error
		if *to, err = option.Replace(*to); err != nil {
			return err
		}
	}
	if err := a.defaults(); err != nil {
		return err
	}
	topics := make([]string, len(a.Topics))
	for i, t := range a.Topics {
		var err error
		if topics[i], err = option.Replace(t); err != nil {
			return fmt.Errorf("topics: %w", err)
		}
		if !topicName.MatchString(topics[i]) {
			return fmt.Errorf("topics: %q is no bundle identifier", topics[i])
		}
	}
	client, err := device.NewClient(true, a.Endpoint, a.SandboxEndpoint)
	if err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	provider, err := a.loadProvider()
	if err != nil {
		return err
	}
	a.devices = &deliver.Devices{
		Client: client, Production: strings.TrimRight(a.Endpoint, "/"), Sandbox: strings.TrimRight(a.SandboxEndpoint, "/"), Provider: provider, Topics: topics,
		MailContent: a.Content, Sealed: a.Sealed, TTL: time.Duration(a.TTL),
	}
	return nil
}

func (a *APNs) defaults() error {
	if a.Content == "" {
		a.Content = notification.Thin
	}
	if a.TTL == 0 {
		a.TTL = caddy.Duration(defaultTTL)
	}
	if a.Endpoint == "" {
		a.Endpoint = deliver.Production
	}
	if a.SandboxEndpoint == "" {
		a.SandboxEndpoint = deliver.Sandbox
	}
	ttl := time.Duration(a.TTL)
	switch {
	case !a.Content.Valid():
		return fmt.Errorf("content must be thin, sender or full, not %q", a.Content)
	case a.Content != notification.Thin && !a.Sealed:
		return fmt.Errorf("content %s needs sealed: Apple could read it otherwise", a.Content)
	case ttl < time.Second || ttl > maxTTL:
		return errors.New("ttl must be between a second and 30 days (30d)")
	case len(a.Topics) == 0:
		return errors.New("topics are missing: the bundle identifiers of the apps, such as: topics com.example.mail")
	}
	return nil
}

// loadProvider returns the one of the configuration before, if it has the same key.
func (a *APNs) loadProvider() (*deliver.Provider, error) {
	key, err := option.Secret(a.Key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	a.provider = fmt.Sprintf("%s %s %x", a.TeamID, a.KeyID, sha256.Sum256([]byte(key)))
	p, _, err := providers.LoadOrNew(a.provider, func() (caddy.Destructor, error) {
		p, err := deliver.NewProvider([]byte(key), a.KeyID, a.TeamID)
		return pooled{p}, err
	})
	if err != nil {
		a.provider = ""
		return nil, err
	}
	return p.(pooled).Provider, nil
}

// Devices implements target.DeviceModule.
func (a *APNs) Devices() target.DeviceSender { return a.devices }

// Target implements target.Module. The app delivers to the devices.
func (a *APNs) Target() target.Target {
	return target.Target{Name: name, Coalesce: coalesce, Workers: workers}
}

// Start implements target.Lifecycle. The age of the key begins with it.
func (a *APNs) Start(target.App) error {
	if _, err := firstuse.Of(context.Background(), a.storage, name, a.KeyID); err != nil {
		a.log.Warn("the age of the key is not known", zap.Error(err))
	}
	return nil
}

// Stop implements target.Lifecycle.
func (a *APNs) Stop() {}

// ServiceKey implements target.ServiceKeyHolder. Keys of APNs have no end.
func (a *APNs) ServiceKey(ctx context.Context) (key target.ServiceKey, err error) {
	key.ID = a.KeyID
	key.Used, err = firstuse.Of(ctx, a.storage, name, key.ID)
	return key, err
}

// Probe implements target.Prober.
func (a *APNs) Probe(ctx context.Context) (asked string, result target.Result) {
	return fmt.Sprintf("a message of %s to a device that does not exist, with the key %s", strings.Join(a.devices.Topics, ", "), a.KeyID), a.devices.Probe(ctx)
}

// Cleanup closes the connections that are not in use.
func (a *APNs) Cleanup() error {
	if a.devices != nil {
		a.devices.Client.CloseIdleConnections()
	}
	if a.provider == "" {
		return nil
	}
	_, err := providers.Delete(a.provider)
	a.provider = ""
	return err
}

// Interface guards.
var (
	_ caddy.Provisioner   = (*APNs)(nil)
	_ caddy.CleanerUpper  = (*APNs)(nil)
	_ target.DeviceModule = (*APNs)(nil)
	_ target.Prober       = (*APNs)(nil)

	_ target.Lifecycle        = (*APNs)(nil)
	_ target.ServiceKeyHolder = (*APNs)(nil)
)
