// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package webpush delivers to browsers and phones by Web Push (RFC 8030).
// Messages are encrypted for the device (RFC 8291) and signed with a key that
// identifies this server to push services (VAPID, RFC 8292).
//
// [Devices] makes messages of mails, codes and tests, which a [Sender] sends to
// the push services that browser makers and users run.
package webpush

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/sealed"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// Message is what a device gets.
type Message struct {
	// Payload has at most [sealed.MaxPlaintext] bytes. It is encrypted for the
	// device.
	Payload []byte
	// TTL is how long the push service keeps the message for a device that it
	// cannot reach.
	TTL time.Duration
	// Topic, if not empty, makes the message replace an older one of the same
	// topic that has not reached the device yet (RFC 8030, section 5.4). At
	// most 32 letters, digits, - and _.
	Topic string
	// Urgency is that of RFC 8030, section 5.3. Default: high. Users wait for new
	// mail; with less, sleeping phones get it when they wake up.
	Urgency subscription.Urgency
}

// Ring holds the VAPID keys of this server: the one for new subscriptions, then
// older ones that devices still use.
type Ring []*Key

// Find returns the key with the given public key, or nil.
func (r Ring) Find(public string) *Key {
	for _, k := range r {
		if k.Public() == public {
			return k
		}
	}
	return nil
}

// Config of a sender.
type Config struct {
	// Client makes the requests: one of [outbound.NewClient], because users
	// choose the addresses.
	Client *http.Client
	// Contact is the contact for operators of push services: a mailto: or
	// https: URL.
	Contact string
	// Keys returns the VAPID keys.
	Keys func(context.Context) (Ring, error)
}

// Sender sends messages to devices. It is safe for concurrent use.
type Sender struct {
	client *http.Client
	keys   func(context.Context) (Ring, error)
	tokens *tokens
}

// NewSender returns a sender.
func NewSender(cfg Config) *Sender {
	return &Sender{client: cfg.Client, keys: cfg.Keys, tokens: newTokens(cfg.Contact)}
}

var errUnknownKey = errors.New("the VAPID key that the device was given is not known here (do all Caddys share one storage?)")

// Send makes one attempt to send a message to a device. It does not ask
// whether the device is confirmed.
func (s *Sender) Send(ctx context.Context, d *subscription.Subscription, m Message) delivery.Result {
	ring, err := s.keys(ctx)
	if err != nil {
		return delivery.Result{Reason: "vapid_keys", Fault: delivery.FaultOfOurs, Err: err}
	}
	key := ring.Find(d.ServerKey)
	if key == nil {
		return delivery.Result{Reason: "vapid_key_unknown", Fault: delivery.FaultOfOurs, Err: errUnknownKey}
	}
	body, err := sealed.Seal(m.Payload, d.Keys.P256DH, d.Keys.Auth)
	if err != nil {
		return delivery.Result{Outcome: delivery.Refused, Reason: "encryption", Err: err}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Endpoint, bytes.NewReader(body))
	if err != nil { // whose text has the endpoint
		return delivery.Result{Outcome: delivery.Refused, Reason: "endpoint", Err: errEndpoint}
	}
	authorization, err := s.tokens.authorization(key, origin(r.URL))
	if err != nil {
		return delivery.Result{Reason: "vapid", Fault: delivery.FaultOfOurs, Err: err}
	}
	r.Header.Set("Authorization", authorization)
	r.Header.Set("Content-Encoding", "aes128gcm")
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set("Ttl", strconv.Itoa(int(m.TTL/time.Second)))
	r.Header.Set("Urgency", string(cmp.Or(m.Urgency, subscription.High)))
	// Not sent, and lets net/http repeat a request whose connection the push
	// service was just closing.
	r.Header["Idempotency-Key"] = nil
	if m.Topic != "" {
		r.Header.Set("Topic", m.Topic)
	}
	return s.do(r, cancel)
}

var errEndpoint = errors.New("the endpoint is no URL")

// maxSaid is how much of an answer is searched for a reason.
const maxSaid = 1 << 10

func (s *Sender) do(r *http.Request, cancel context.CancelFunc) delivery.Result {
	// Not client.Do, which fails on a Location that it cannot read.
	resp, err := s.client.Transport.RoundTrip(r) //nolint:bodyclose // Read does
	if err != nil {
		result := delivery.ResultOfFailure(err)
		if result.Reason == "address_refused" {
			result.Outcome = delivery.Refused
		}
		return result
	}
	said := outbound.Read(resp, cancel, maxSaid)
	return resultOf(resp, said, delivery.ResultOfStatus(resp.StatusCode, resp.Header, time.Now()))
}

// origin of a URL (RFC 6454), the audience of VAPID tokens.
func origin(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		host = host[:len(host)-len(port)-1]
	}
	return u.Scheme + "://" + host
}
