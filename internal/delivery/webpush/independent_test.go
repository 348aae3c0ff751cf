// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/sealed"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// A push service that was not made here takes our messages: it knows our
// token, and its user agent reads what we wrote.
func TestIndependentPushService(t *testing.T) {
	service, key, other := pushtest.StartIndependent(t), newTestKey(t), newTestKey(t)
	policy, err := outbound.NewPolicy(service.Origin)
	require.NoError(t, err)
	client := outbound.NewClient(outbound.Config{Policy: policy})
	defer client.CloseIdleConnections()
	sender := NewSender(Config{
		Client: client, Contact: contact,
		Keys: func(context.Context) (Ring, error) { return Ring{key, other}, nil },
	})
	made := service.Subscribe(key.Public())
	device := &subscription.Subscription{Endpoint: made.Endpoint, ServerKey: key.Public()}
	device.Keys.P256DH, device.Keys.Auth = unbase64(t, made.Keys.P256DH), unbase64(t, made.Keys.Auth)

	messages := []string{"", "hello", `{"@type":"Mail","subject":"Grüße ☃"}`, strings.Repeat("x", sealed.MaxPlaintext)}
	for _, m := range messages {
		result := sender.Send(t.Context(), device, Message{Payload: []byte(m)})
		require.Equal(t, delivery.Result{Outcome: delivery.Delivered}, result, "%d bytes", len(m))
	}
	assert.Equal(t, messages, service.Messages(made))

	device.ServerKey = other.Public()
	assert.Equal(t, "status_400", sender.Send(t.Context(), device, Message{Payload: []byte("hello")}).Reason, "not the key that it was made with")
	device.ServerKey = key.Public()
	service.Unsubscribe(made)
	assert.Equal(t, delivery.Gone, sender.Send(t.Context(), device, Message{Payload: []byte("hello")}).Outcome)
	assert.Equal(t, messages, service.Messages(made))
}
