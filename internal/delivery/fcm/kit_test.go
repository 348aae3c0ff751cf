// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package fcm

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device/devicetest"
	mail "github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// newClient returns a client that may talk to the service.
func newClient(t testing.TB, service *pushtest.FCM) *http.Client {
	t.Helper()
	policy, err := outbound.NewPolicy(service.Origin)
	require.NoError(t, err)
	client := outbound.NewClient(outbound.Config{Policy: policy, RootCAs: service.RootCAs()})
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// newDevices sends to the devices of a service.
func newDevices(t testing.TB, service *pushtest.FCM) (devices *Devices, keyID string) {
	t.Helper()
	file, keyID, err := service.NewAccount()
	require.NoError(t, err)
	client := newClient(t, service)
	account, err := NewAccount(file, func(string) (*http.Client, error) { return client, nil })
	require.NoError(t, err)
	return &Devices{Client: client, Endpoint: service.Origin, Account: account, MailContent: mail.Thin, TTL: 24 * time.Hour}, keyID
}

func subscriptionOf(t testing.TB, a *pushtest.App) *subscription.Subscription {
	t.Helper()
	d, err := devicetest.NewSubscription(a)
	require.NoError(t, err)
	d.ID = "42"
	return d
}
