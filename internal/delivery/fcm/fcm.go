// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package fcm delivers to apps that use Firebase Cloud Messaging, by its HTTP v1 API.
//
// [Devices] makes messages of mails, codes and tests, and sends them. Google can read
// what is not sealed for the device.
package fcm

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
)

// Endpoint is where Google has the service.
const Endpoint = "https://fcm.googleapis.com"

// request is the body of messages:send, see
// https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages.
type request struct {
	ValidateOnly bool    `json:"validate_only,omitempty"`
	Message      message `json:"message"`
}

type message struct {
	Token   string            `json:"token"`
	Data    map[string]string `json:"data,omitempty"`
	Android android           `json:"android"`
}

type android struct {
	CollapseKey  string        `json:"collapse_key,omitempty"`
	Priority     string        `json:"priority"`
	TTL          string        `json:"ttl"`
	Notification *notification `json:"notification,omitempty"`
}

// notification is what the system shows while the app is not open. The text is the
// app's: it has it in the language of its user.
type notification struct {
	BodyLocKey string `json:"body_loc_key"`
	Tag        string `json:"tag,omitempty"`
}

// seconds is how Google writes durations.
func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int64(d/time.Second)) }

// maxSaid is how much of an answer is searched for a reason.
const maxSaid = 4 << 10

// send makes one attempt to send a message. An access token that is not accepted is
// renewed once.
func (s *Devices) send(ctx context.Context, r request) delivery.Result {
	body, err := device.Encode(r)
	if err != nil {
		return delivery.Result{Reason: "encoding", Fault: delivery.FaultOfOurs, Err: err}
	}
	var result delivery.Result
	for range 2 {
		token, failed := s.Account.token(ctx)
		if failed != nil {
			return *failed
		}
		if result = s.post(ctx, body, token); result.Reason != reasonUnauthenticated {
			break
		}
		s.Account.drop(token)
	}
	return result
}

func (s *Devices) post(ctx context.Context, body []byte, token string) delivery.Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Endpoint+"/v1/projects/"+s.Account.Project+"/messages:send", bytes.NewReader(body))
	if err != nil {
		return delivery.Result{Outcome: delivery.Misconfigured, Reason: "project", Fault: delivery.FaultOfService, Err: err}
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	// Not sent, and lets net/http repeat a request whose connection FCM was just
	// closing.
	r.Header["Idempotency-Key"] = nil
	// Not client.Do, which fails on a Location that it cannot read.
	resp, err := s.Client.Transport.RoundTrip(r) //nolint:bodyclose // Read does
	if err != nil {
		return delivery.ResultOfFailure(err)
	}
	said := outbound.Read(resp, cancel, maxSaid)
	return resultOf(resp, said, delivery.ResultOfStatus(resp.StatusCode, resp.Header, time.Now()))
}
