// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package devicetest has what the tests of senders to devices share.
package devicetest

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// NewClient returns a client that may talk to the origin of a URL, and trusts ca if
// it is not nil.
func NewClient(t testing.TB, to string, ca *x509.Certificate) *http.Client {
	t.Helper()
	u, err := url.Parse(to)
	require.NoError(t, err)
	policy, err := outbound.NewPolicy(u.Scheme + "://" + u.Host)
	require.NoError(t, err)
	cfg := outbound.Config{Policy: policy}
	if ca != nil {
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AddCert(ca)
	}
	client := outbound.NewClient(cfg)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// NewClientTo is NewClient, and sends every request to that URL.
func NewClientTo(t testing.TB, to string, ca *x509.Certificate) *http.Client {
	t.Helper()
	u, err := url.Parse(to)
	require.NoError(t, err)
	return &http.Client{Transport: &redirected{NewClient(t, to, ca).Transport, u}}
}

type redirected struct {
	http.RoundTripper
	to *url.URL
}

func (r *redirected) RoundTrip(request *http.Request) (*http.Response, error) {
	request.URL = r.to
	return r.RoundTripper.RoundTrip(request)
}

// One delivers to one device.
type One struct {
	Sender device.Sender
	Device *subscription.Subscription
}

// Deliver implements [delivery.Deliverer].
func (o One) Deliver(ctx context.Context, r *queue.Record) delivery.Result {
	n, err := new(notification.Decoder).Decode(r.Body)
	if err != nil {
		return delivery.Result{Outcome: delivery.Refused, Reason: "decode", Err: err}
	}
	return o.Sender.SendMail(ctx, o.Device, n.Mail(notification.Full, r.ID, r.Accepted, ""))
}

// NewSubscription is what is stored of an app that has confirmed.
func NewSubscription(a *pushtest.App) (*subscription.Subscription, error) {
	d := &subscription.Subscription{
		ID: a.Token[:min(len(a.Token), 24)], Kind: subscription.Kind(a.Kind), Name: "Phone", Token: a.Token, App: a.Name, Environment: a.Environment,
		Created: time.Now(), ConfirmedAt: time.Now(), Expires: time.Now().Add(subscription.Lifetime),
	}
	var err error
	if d.Keys.P256DH, err = base64.RawURLEncoding.DecodeString(a.P256DH); err != nil {
		return nil, err
	}
	d.Keys.Auth, err = base64.RawURLEncoding.DecodeString(a.Auth)
	return d, err
}

// NewMail is a mail as devices are notified of it.
func NewMail() notification.Mail {
	unseen := uint32(3)
	return notification.Mail{
		Type: "Mail", ID: "ab", Folder: "INBOX", UID: 7, UIDValidity: 1, Event: notification.MessageNew, Unseen: &unseen,
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

// NewSummary is one of so many mails.
func NewSummary(count int) notification.Summary {
	unseen := uint32(count)
	s := notification.Summary{Type: "Summary", ID: "ab", Count: count, Unseen: &unseen, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if count > 2 {
		s.From, s.Others = []string{"Anna", "Bob"}, 3
	}
	return s
}
