// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package apns delivers to apps on Apple's devices, by the Apple Push Notification
// service: HTTP/2, with a token that identifies this server.
//
// [Devices] makes messages of mails, codes and tests, and sends them. APNs can read
// what is not sealed for the device.
package apns

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// Where Apple has the service.
const (
	Production = "https://api.push.apple.com"
	Sandbox    = "https://api.sandbox.push.apple.com"
)

// sandbox is the environment of apps that are being developed.
const sandbox = "sandbox"

// message is what a device gets.
type message struct {
	payload []byte
	// background means that the app gets it without that people see something.
	background bool
	// normal means that it can wait until the phone is awake.
	normal bool
	// collapse makes it replace an older one that a device shows or waits for.
	collapse string
	ttl      time.Duration
}

// maxSaid is how much of an answer is searched for a reason.
const maxSaid = 1 << 10

var errDevice = errors.New("the token of the device is none")

// send makes one attempt to send a message. A provider token that has expired is
// renewed once.
func (s *Devices) send(ctx context.Context, d *subscription.Subscription, m message) delivery.Result {
	token, err := s.Provider.token()
	if err != nil {
		return delivery.Result{Reason: "provider_token", Fault: delivery.FaultOfOurs, Err: err}
	}
	result := s.post(ctx, d, m, token)
	if result.Reason == reasonExpired && s.Provider.renew(token) == nil {
		if token, err = s.Provider.token(); err == nil {
			result = s.post(ctx, d, m, token)
		}
	}
	if result.Pause {
		result.After = max(result.After, s.Provider.wait())
	}
	return result
}

func (s *Devices) post(ctx context.Context, d *subscription.Subscription, m message, token string) delivery.Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	origin := s.Production
	if d.Environment == sandbox {
		origin = s.Sandbox
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, origin+"/3/device/"+d.Token, bytes.NewReader(m.payload))
	if err != nil { // whose text has the token
		return delivery.Result{Outcome: delivery.Refused, Reason: "token", Err: errDevice}
	}
	kind, priority := "alert", "10"
	if m.background {
		kind, priority = "background", "5" // 10 is an error
	}
	if m.normal {
		priority = "5"
	}
	r.Header.Set("Authorization", "bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Apns-Topic", d.App)
	r.Header.Set("Apns-Push-Type", kind)
	r.Header.Set("Apns-Priority", priority)
	r.Header.Set("Apns-Expiration", strconv.FormatInt(time.Now().Add(m.ttl).Unix(), 10))
	if m.collapse != "" {
		r.Header.Set("Apns-Collapse-Id", m.collapse)
	}
	// Not sent, and lets net/http repeat a request whose connection APNs was just
	// closing.
	r.Header["Idempotency-Key"] = nil
	// Not client.Do, which fails on a Location that it cannot read.
	resp, err := s.Client.Transport.RoundTrip(r) //nolint:bodyclose // Read does
	if err != nil {
		return delivery.ResultOfFailure(err)
	}
	said := outbound.Read(resp, cancel, maxSaid)
	return resultOf(d, resp, said, delivery.ResultOfStatus(resp.StatusCode, resp.Header, time.Now()))
}
