// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/sealed"
)

func TestSend(t *testing.T) {
	service, key := pushtest.Start(t), newTestKey(t)
	device := service.Subscribe(t, key.Public())
	sender := newTestSender(t, service, newTestKey(t), key)
	message := Message{Payload: []byte("hello"), TTL: 90 * time.Second, Topic: "a-topic_1"}
	require.Equal(t, delivery.Result{Outcome: delivery.Delivered}, sender.Send(t.Context(), subscriptionOf(t, device, key), message))
	got := device.Wait(1)[0]
	assert.Equal(t, "hello", string(got.Plain))
	assert.Equal(t, 90, got.TTL)
	assert.Equal(t, "high", got.Urgency)
	assert.Equal(t, "a-topic_1", got.Topic)

	longest := Message{Payload: []byte(strings.Repeat("x", sealed.MaxPlaintext))}
	require.Equal(t, delivery.Delivered, sender.Send(t.Context(), subscriptionOf(t, device, key), longest).Outcome)
	assert.Equal(t, longest.Payload, device.Wait(2)[1].Plain)
}

func TestHowASendFails(t *testing.T) {
	service, key := pushtest.Start(t), newTestKey(t)
	device := service.Subscribe(t, key.Public())
	sender := newTestSender(t, service, key)
	send := func() delivery.Result {
		return sender.Send(t.Context(), subscriptionOf(t, device, key), Message{Payload: []byte("hello")})
	}
	answer := func(status int, after string) {
		service.Answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", after)
			w.Header().Set("Location", "http://127.0.0.1/")
			http.Error(w, "something of "+device.Endpoint, status)
		})
	}
	for status, want := range map[int]delivery.Outcome{
		200: delivery.Delivered, 201: delivery.Delivered, 202: delivery.Delivered, 204: delivery.Delivered,
		302: delivery.Misconfigured, 307: delivery.Misconfigured,
		400: delivery.Refused, 401: delivery.Misconfigured, 403: delivery.Misconfigured, 404: delivery.Gone, 410: delivery.Gone,
		413: delivery.Refused, 429: delivery.TryAgain, 500: delivery.TryAgain, 503: delivery.TryAgain,
	} {
		answer(status, "7")
		result := send()
		assert.Equal(t, want, result.Outcome, status)
		if want == delivery.Delivered {
			assert.NoError(t, result.Err)
			continue
		}
		if want == delivery.TryAgain && status != 500 {
			assert.Equal(t, 7*time.Second, result.After)
		}
		require.Error(t, result.Err)
		assert.NotContains(t, result.Err.Error(), "/push/", "the endpoint is a secret")
	}
	service.Answer(nil)

	stranger := newTestSender(t, service, newTestKey(t))
	result := stranger.Send(t.Context(), subscriptionOf(t, device, key), Message{})
	assert.Equal(t, "vapid_key_unknown", result.Reason)
	assert.Equal(t, delivery.TryAgain, result.Outcome, "another Caddy may know it")
	stranger.keys = func(context.Context) (Ring, error) { return nil, errors.New("the storage is down") }
	result = stranger.Send(t.Context(), subscriptionOf(t, device, key), Message{})
	assert.Equal(t, "vapid_keys", result.Reason)
	assert.Equal(t, delivery.TryAgain, result.Outcome)

	other := subscriptionOf(t, device, key)
	other.Keys.Auth = nil
	assert.Equal(t, delivery.Refused, sender.Send(t.Context(), other, Message{}).Outcome)
	other = subscriptionOf(t, device, key)
	assert.Equal(t, delivery.Refused, sender.Send(t.Context(), other, Message{Payload: make([]byte, sealed.MaxPlaintext+1)}).Outcome)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	result = sender.Send(ended, subscriptionOf(t, device, key), Message{})
	assert.Equal(t, delivery.TryAgain, result.Outcome)
	assert.NotContains(t, result.Err.Error(), "/push/")
	assert.Zero(t, device.Got())
}

// An endpoint that was taken once may have become one that must not be
// connected to.
func TestEndpointsThatMustNotBeReached(t *testing.T) {
	service, key := pushtest.Start(t), newTestKey(t)
	device := service.Subscribe(t, key.Public())
	sender := newTestSender(t, service, key)
	for _, endpoint := range []string{
		"http://" + strings.TrimPrefix(service.Origin, "https://") + "/push/1", "https://127.0.0.1/push/1", "https://localhost/", "https://10.1.2.3/", "https://[::1]/",
		"https://user@push.example.com/", "https://push.example.com:22/", "ftp://push.example.com/", "/push", "", "https://a b/", "\x00",
	} {
		to := subscriptionOf(t, device, key)
		to.Endpoint = endpoint
		result := sender.Send(t.Context(), to, Message{Payload: []byte("hello")})
		assert.Equal(t, delivery.Refused, result.Outcome, "%q", endpoint)
		require.Error(t, result.Err)
		assert.NotContains(t, result.Err.Error(), "/push/1")
	}
	assert.Zero(t, service.Posts())
}

func TestOrigin(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://push.example.com/x?y":    "https://push.example.com",
		"https://push.example.com:443/x":  "https://push.example.com",
		"https://push.example.com:8443/x": "https://push.example.com:8443",
		"http://push.example.com:80/x":    "http://push.example.com",
		"http://push.example.com:443/x":   "http://push.example.com:443",
		"https://[2606:4700::1111]:443/x": "https://[2606:4700::1111]",
		"https://[2606:4700::1111]/x":     "https://[2606:4700::1111]",
		"https://PUSH.example.com/x":      "https://push.example.com",
	} {
		u, err := url.Parse(endpoint)
		require.NoError(t, err)
		assert.Equal(t, want, origin(u))
	}
}
