// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webpush"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/sealed"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

const (
	pushDevices = 1000
	pushAtOnce  = 64
	// pushPayload is a mail with a sender and a subject of usual length.
	pushPayload = `{"@type":"Mail","id":"00112233445566778899aabbccddeeff","folder":"INBOX","uid":4711,"uidValidity":1700000000,` +
		`"event":"messageNew","unseen":3,"from":"Alice Example <alice@example.net>","subject":"Minutes of the meeting on Tuesday","time":"2026-01-02T03:04:05Z"}`
)

// webpush sends messages to devices whose push service is in this process, over
// TLS and HTTP/2: first through a Caddy, then from this process, where the
// processor time is that of both sides, and there again to devices with
// preferences.
func (b *bench) webpush() error {
	if err := b.webpushOfCaddy(); err != nil {
		return err
	}
	return webpushAlone()
}

func webpushAlone() error {
	service := pushtest.New()
	defer service.Close()
	service.Discard.Store(true)
	policy, err := outbound.NewPolicy(service.Origin)
	if err != nil {
		return err
	}
	client := outbound.NewClient(outbound.Config{Policy: policy, RootCAs: service.RootCAs()})
	defer client.CloseIdleConnections()
	key, err := webpush.NewKey(time.Now())
	if err != nil {
		return err
	}
	sender := webpush.NewSender(webpush.Config{
		Client: client, Contact: "mailto:postmaster@example.com",
		Keys: func(context.Context) (webpush.Ring, error) { return webpush.Ring{key}, nil },
	})
	devices := make([]subscription.Subscription, pushDevices)
	for i := range devices {
		if devices[i], err = pushDevice(service, key.Public()); err != nil {
			return err
		}
	}
	bare := &contender{name: "POST of as many bytes", measure: func() (result, error) {
		body := make([]byte, len(pushPayload)+sealed.Overhead)
		return pushes(func(i int) error { return post(client, service.Origin, body) })
	}}
	message := webpush.Message{Payload: []byte(pushPayload), TTL: 24 * time.Hour, Topic: "INBOX"}
	push := &contender{name: "encrypted, signed and checked", measure: func() (result, error) {
		return pushes(func(i int) error {
			if r := sender.Send(context.Background(), &devices[i%pushDevices], message); r.Outcome != delivery.Delivered {
				return fmt.Errorf("%s: %w", r.Reason, r.Err)
			}
			return nil
		})
	}}
	if err := compare("messages/s", bare, push); err != nil {
		return err
	}
	return webpushPreferences(sender, devices)
}

func pushDevice(service *pushtest.Service, serverKey string) (subscription.Subscription, error) {
	d, err := service.NewDevice(serverKey)
	if err != nil {
		return subscription.Subscription{}, err
	}
	s := subscription.Subscription{Endpoint: d.Endpoint, ServerKey: serverKey}
	if s.Keys.P256DH, err = base64.RawURLEncoding.DecodeString(d.P256DH); err != nil {
		return s, err
	}
	s.Keys.Auth, err = base64.RawURLEncoding.DecodeString(d.Auth)
	return s, err
}

// post sends a body to a path that the service does not know.
func post(client *http.Client, url string, body []byte) error {
	resp, err := client.Post(url, "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Body.Close()
}

// pushes calls send as often as it can, by several at once.
func pushes(send func(i int) error) (result, error) {
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		all      []time.Duration
		n        atomic.Int64
		failed   atomic.Int64
		failure  atomic.Pointer[error]
		start    = time.Now()
		deadline = start.Add(*duration)
	)
	before, err := processorTime(os.Getpid())
	if err != nil {
		return result{}, err
	}
	for range pushAtOnce {
		wg.Go(func() {
			var latencies []time.Duration
			for time.Now().Before(deadline) {
				begin := time.Now()
				if err := send(int(n.Add(1))); err != nil {
					failed.Add(1)
					failure.Store(&err)
				}
				latencies = append(latencies, time.Since(begin))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, latencies...)
		})
	}
	wg.Wait()
	r := result{requests: int64(len(all)), failed: failed.Load(), took: time.Since(start)}
	after, err := processorTime(os.Getpid())
	if err != nil {
		return r, err
	}
	if f := failure.Load(); f != nil {
		return r, *f
	}
	slices.Sort(all)
	r.cpu, r.p50, r.p99 = after-before, all[len(all)/2], all[len(all)*99/100]
	return r, nil
}
