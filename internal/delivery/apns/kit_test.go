// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package apns

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device/devicetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

const topic, otherTopic = "com.example.mail", "com.example.chat"

// newClient returns a client that may talk to the service.
func newClient(t testing.TB, service *pushtest.APNs) *http.Client {
	t.Helper()
	policy, err := outbound.NewPolicy(service.Origin)
	require.NoError(t, err)
	client := outbound.NewClient(outbound.Config{Policy: policy, RootCAs: service.RootCAs(), HTTP2: true})
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func newProvider(t testing.TB, service *pushtest.APNs) (*Provider, string) {
	t.Helper()
	key, id, err := service.NewKey()
	require.NoError(t, err)
	p, err := NewProvider(key, id, service.TeamID)
	require.NoError(t, err)
	return p, id
}

// newDevices sends to the devices of a service.
func newDevices(t testing.TB, service *pushtest.APNs) (*Devices, string) {
	t.Helper()
	provider, id := newProvider(t, service)
	return &Devices{
		Client: newClient(t, service), Production: service.Origin, Sandbox: service.Origin, Provider: provider,
		Topics: []string{topic, otherTopic}, MailContent: notification.Thin, TTL: 24 * time.Hour,
	}, id
}

func subscriptionOf(t testing.TB, a *pushtest.App) *subscription.Subscription {
	t.Helper()
	d, err := devicetest.NewSubscription(a)
	require.NoError(t, err)
	d.ID = "42"
	return d
}
