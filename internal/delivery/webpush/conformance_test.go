// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"context"
	"crypto/x509"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device/devicetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/targettest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func TestConformance(t *testing.T) {
	w := newWorld(t)
	targettest.Run(t, targettest.Kit{
		New: func(t *testing.T, endpoint string, ca *x509.Certificate) delivery.Deliverer {
			target := *w.Target
			devices := *w.devices
			devices.Sender = NewSender(Config{Client: devicetest.NewClient(t, endpoint, ca), Contact: contact, Keys: w.devices.Sender.keys})
			target.Sender = &devices
			public, auth := newDevice(t)
			return &oneDevice{Target: &target, t: t, device: subscription.Device{Name: "Phone", Address: subscription.Address{
				Endpoint: endpoint, ServerKey: w.key.Public(), Keys: subscription.Keys{P256DH: public, Auth: auth},
			}}}
		},
		Outcomes: map[int]delivery.Outcome{404: delivery.Gone, 410: delivery.Gone, 406: delivery.TryAgain},
	})
}

// oneDevice delivers to the only device of Alice, which subscribes again
// whenever it is gone.
type oneDevice struct {
	*device.Target
	t      *testing.T
	device subscription.Device
	mu     sync.Mutex
}

func (o *oneDevice) Deliver(ctx context.Context, r *queue.Record) delivery.Result {
	there := *r
	there.Destination = o.id()
	return o.Target.Deliver(ctx, &there)
}

func (o *oneDevice) id() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	list, err := o.Subscriptions.Of(alice)
	require.NoError(o.t, err)
	for _, d := range list {
		if d.Endpoint == o.device.Endpoint {
			return d.ID
		}
		require.NoError(o.t, o.Subscriptions.Remove(o.t.Context(), alice, d.ID))
	}
	device, _, err := o.Subscriptions.Add(o.t.Context(), alice, o.device)
	require.NoError(o.t, err)
	_, err = o.Subscriptions.Confirm(o.t.Context(), alice, device.ID, device.VerificationCode)
	require.NoError(o.t, err)
	return device.ID
}
