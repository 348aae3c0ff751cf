// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"context"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// DeviceModule is a [Module] that sends to devices of users, such as phones. The app
// keeps the devices: their users add, confirm, rename and remove them by its API, where
// they have the [DeviceKind] of the sender. It finds the devices of a notification and
// calls the sender for each of them: the [Target] of the module has neither a Deliverer
// nor Destinations. There is one module for each kind.
type DeviceModule interface {
	Module
	// Devices is what sends to the devices. It is called after the module is
	// provisioned.
	Devices() DeviceSender
}

type (
	// DeviceSender sends to devices of one kind.
	DeviceSender = device.Sender
	// DeviceSharing is a sender whose devices share more than the host of their
	// endpoint, and pause together when it is down: the app of a phone.
	DeviceSharing = device.Sharing
	// DeviceKind is a word of lower-case letters, such as webpush.
	DeviceKind = subscription.Kind
	// Device is one device of one user.
	Device = subscription.Subscription
	// Address is where a user says that a device is.
	Address = subscription.Address
	// FieldError is what is wrong with a member of an address.
	FieldError = subscription.FieldError
)

// KeyHolder is a [Module] whose devices are bound to a key of this server, as those of
// Web Push are to its VAPID key.
type KeyHolder interface {
	// ServerKeys are the keys, the newest first: what new devices are made with.
	ServerKeys(ctx context.Context) ([]ServerKey, error)
	// RotateServerKeys makes another one the newest. inUse is how many devices
	// have each of the public keys.
	RotateServerKeys(ctx context.Context, inUse map[string]int) ([]ServerKey, error)
}

// ServerKey is the public half of a key.
type ServerKey struct {
	Public  string
	Created time.Time
}
