// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webpush"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// preferringUsers have a device each. They share the addresses of pushDevices.
const preferringUsers = 100_000

// webpushPreferences finds the device of each of many users, applies its
// preferences and sends the mail: without preferences, and with as many as a user
// may have. None of them leaves the mail out.
func webpushPreferences(sender *webpush.Sender, devices []subscription.Subscription) error {
	full := subscription.Preferences{
		Content: notification.Sender, Urgency: subscription.Normal, Folders: []string{"Work", "INBOX"},
		QuietHours: &subscription.QuietHours{Start: "00:00", End: "00:01", Days: []subscription.Day{"su"}, TimeZone: "Europe/Berlin"},
	}
	for i := range subscription.MaxSenders {
		full.NotFrom = append(full.NotFrom, fmt.Sprintf("sender-%d@lists.example.org", i))
	}
	without, stopWithout, err := preferring(sender, devices, subscription.Preferences{})
	if err != nil {
		return err
	}
	defer stopWithout()
	with, stopWith, err := preferring(sender, devices, full)
	if err != nil {
		return err
	}
	defer stopWith()
	return compare("messages/s", without.named("devices without preferences"), with.named("devices with preferences"))
}

// preferringTarget is a target whose devices have the same preferences.
type preferringTarget struct {
	*device.Target
	records []*queue.Record
}

func preferring(sender *webpush.Sender, devices []subscription.Subscription, p subscription.Preferences) (*preferringTarget, func(), error) {
	table := make(fixedTable)
	var t preferringTarget
	for i := range preferringUsers {
		d := devices[i%len(devices)]
		d.ID, d.Preferences, d.Expires = fmt.Sprint(i), p, time.Now().Add(subscription.Lifetime)
		user := fmt.Sprintf("user%d@example.com", i)
		table[user] = d
		t.records = append(t.records, &queue.Record{
			ID: notification.Identity{byte(i), byte(i >> 8), byte(i >> 16)}, Accepted: time.Now(),
			Body: []byte(strings.Replace(pushPayload, `"uid":4711,"uidValidity"`, `"user":"`+user+`","imap-uid":4711,"imap-uidvalidity"`, 1)),
		})
	}
	store := subscription.New(subscription.Config{Table: table, Logger: slog.New(slog.DiscardHandler)})
	store.Start()
	if err := store.Wait(context.Background()); err != nil {
		return nil, nil, err
	}
	t.Target = &device.Target{
		Sender:        &webpush.Devices{Sender: sender, MailContent: notification.Sender, TTL: 24 * time.Hour},
		Subscriptions: store, Decoder: new(notification.Decoder),
	}
	return &t, store.Stop, nil
}

func (t *preferringTarget) named(name string) *contender {
	return &contender{name: name, measure: func() (result, error) { return pushes(t.push) }}
}

// push is the way of one notification in the engine, without the queue.
func (t *preferringTarget) push(i int) error {
	r := *t.records[i*7919%len(t.records)] // not those that are side by side
	all, err := t.Destinations(context.Background(), &r)
	if err != nil {
		return err
	}
	if len(all) != 1 || all[0].Silenced != "" {
		return fmt.Errorf("%d destinations: %v", len(all), all)
	}
	r.Destination = all[0].Key
	if result := t.Deliver(context.Background(), &r); result.Outcome != delivery.Delivered {
		return fmt.Errorf("%s: %w", result.Reason, result.Err)
	}
	return nil
}

// fixedTable has one device for each user, and is never written to.
type fixedTable map[string]subscription.Subscription

func (t fixedTable) Watch(ctx context.Context, _ queue.Key, seen func(queue.Entry), current func()) error {
	for user, d := range t {
		value, err := json.Marshal([]subscription.Subscription{d})
		if err != nil {
			return err
		}
		seen(queue.Entry{Key: queue.Key{user}, Value: value, Revision: 1})
	}
	current()
	<-ctx.Done()
	return ctx.Err()
}

func (fixedTable) Get(context.Context, queue.Key) (queue.Entry, error) {
	return queue.Entry{}, queue.ErrUnavailable
}

func (fixedTable) Create(context.Context, queue.Key, []byte) (uint64, error) {
	return 0, queue.ErrUnavailable
}

func (fixedTable) Update(context.Context, queue.Key, []byte, uint64) (uint64, error) {
	return 0, queue.ErrUnavailable
}

func (fixedTable) Delete(context.Context, queue.Key, uint64) error { return queue.ErrUnavailable }
