// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func TestDestinations(t *testing.T) {
	w := newWorld(t)
	none, err := w.Destinations(t.Context(), record(t, "", nil))
	require.NoError(t, err)
	assert.Empty(t, none)

	_, phone := w.device(t, "Phone")
	_, laptop := w.device(t, "Laptop")
	_, _, err = w.Subscriptions.Add(t.Context(), alice, subscription.Device{
		Name: "Unconfirmed", Address: address(t, w.service.Subscribe(t, w.key.Public()), w.key),
	})
	require.NoError(t, err)
	host := strings.TrimPrefix(w.service.Origin, "https://")
	want := []delivery.Destination{{Key: phone.ID, Service: host}, {Key: laptop.ID, Service: host}}
	got, err := w.Destinations(t.Context(), record(t, "", nil))
	require.NoError(t, err)
	assert.Equal(t, want, got)

	moved := address(t, w.service.Subscribe(t, w.key.Public()), w.key)
	_, err = w.Subscriptions.Renew(t.Context(), alice, phone.ID, moved)
	require.NoError(t, err)
	got, err = w.Destinations(t.Context(), record(t, "", nil))
	require.NoError(t, err)
	assert.Equal(t, []delivery.Destination{{Key: phone.ID}, want[1]}, got, "mail waits for the one that has moved")

	unreadable := record(t, "", nil)
	unreadable.Body = []byte("{")
	_, err = w.Destinations(t.Context(), unreadable)
	require.ErrorIs(t, err, delivery.ErrRefused)

	got, err = w.Destinations(t.Context(), record(t, "", map[string]any{"user": "bob@example.com"}))
	require.NoError(t, err)
	assert.Empty(t, got)
}

func TestDeliver(t *testing.T) {
	w := newWorld(t)
	device, phone := w.device(t, "Phone")
	for content, want := range map[notification.Content]string{
		notification.Thin:   ``,
		notification.Sender: `"from":"Bob <bob@example.net>","subject":"Hello",`,
		notification.Full:   `"from":"Bob <bob@example.net>","subject":"Hello","snippet":"How are you?",`,
	} {
		w.devices.MailContent = content
		result := w.Deliver(t.Context(), record(t, phone.ID, nil))
		require.Equal(t, delivery.Result{Outcome: delivery.Delivered}, result)
		messages := device.Wait(device.Got())
		got := messages[len(messages)-1]
		assert.JSONEq(t, `{"@type":"Mail","id":"ab000000000000000000000000000000","folder":"INBOX","uid":7,"uidValidity":1,
			"event":"messageNew","unseen":3,`+want+`"time":"2026-01-02T03:04:05Z"}`, string(got.Plain))
		assert.Equal(t, 24*60*60, got.TTL)
	}
	list, err := w.Subscriptions.List(alice)
	require.NoError(t, err)
	require.NotNil(t, list[0].Last)
	assert.Equal(t, subscription.Delivered, list[0].Last.Outcome)
	assert.Equal(t, subscription.Delivered, delivery.Delivered.String())
}

// Of the mails that come while a device is off, it gets the newest of each
// folder.
func TestTopics(t *testing.T) {
	w := newWorld(t)
	phoneAgent, phone := w.device(t, "Phone")
	_, laptop := w.device(t, "Laptop")
	phoneAgent.Online(false)
	for uid := range 5 {
		for _, folder := range []string{"INBOX", "Lists/Ä"} {
			r := record(t, phone.ID, map[string]any{"imap-uid": uid + 1, "folder": folder})
			require.Equal(t, delivery.Delivered, w.Deliver(t.Context(), r).Outcome)
		}
	}
	phoneAgent.Online(true)
	require.Equal(t, 2, phoneAgent.Got())
	for _, m := range phoneAgent.Wait(2) {
		var mail notification.Mail
		require.NoError(t, json.Unmarshal(m.Plain, &mail))
		assert.EqualValues(t, 5, mail.UID)
	}
	assert.NotEqual(t, device.Topic(&phone, "INBOX"), device.Topic(&laptop, "INBOX"), "nobody sees that they are the same user's")
}

// Whatever a sender writes, something arrives.
func TestLongMails(t *testing.T) {
	w := newWorld(t)
	w.devices.MailContent = notification.Full
	device, phone := w.device(t, "Phone")
	for name, members := range map[string]map[string]any{
		"all":        {"from": strings.Repeat("f", 1020), "subject": strings.Repeat("s", 1020), "snippet": strings.Repeat("x", 1020)},
		"no snippet": {"from": strings.Repeat("f", 1020), "subject": strings.Repeat("s", 1020), "snippet": strings.Repeat("\"", 1020)},
		"subject":    {"from": strings.Repeat("\"", 1020), "subject": strings.Repeat("\"", 1020)},
		"nothing":    {"from": strings.Repeat("\"", 1020), "subject": strings.Repeat("\"", 1020), "folder": strings.Repeat("\"", 1020)},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, delivery.Delivered, w.Deliver(t.Context(), record(t, phone.ID, members)).Outcome)
			messages := device.Wait(device.Got())
			var got notification.Mail
			require.NoError(t, json.Unmarshal(messages[len(messages)-1].Plain, &got))
			assert.Equal(t, name == "all", got.Snippet != "")
			assert.Equal(t, name == "all" || name == "no snippet", got.From != "")
			assert.Equal(t, name != "nothing", got.Subject != "")
			if got.Subject != "" {
				assert.Len(t, got.Subject, 1020, "whole members, never a part of one")
			}
			if folder, ok := members["folder"]; ok {
				assert.Equal(t, folder, got.Folder)
			}
		})
	}
}

func TestGone(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusGone} {
		w := newWorld(t)
		_, phone := w.device(t, "Phone")
		_, laptop := w.device(t, "Laptop")
		w.service.Answer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status) })
		assert.Equal(t, delivery.Gone, w.Deliver(t.Context(), record(t, phone.ID, nil)).Outcome)
		list, err := w.Subscriptions.Of(alice)
		require.NoError(t, err)
		require.Len(t, list, 1)
		assert.Equal(t, laptop.ID, list[0].ID)
		result := w.Deliver(t.Context(), record(t, phone.ID, nil))
		assert.Equal(t, delivery.Result{Outcome: delivery.Gone, Reason: "unsubscribed"}, result)

		assert.Equal(t, []string{alice + " true"}, w.changed)
		assert.Equal(t, delivery.Gone, w.Deliver(t.Context(), record(t, laptop.ID, nil)).Outcome)
		assert.Equal(t, []string{alice + " true", alice + " false"}, w.changed, "nobody is left to notify")
	}
}

// A device that has moved while a message was on its way to its old address
// stays.
func TestMovedMeanwhile(t *testing.T) {
	w := newWorld(t)
	_, phone := w.device(t, "Phone")
	moved := w.service.Subscribe(t, w.key.Public())
	w.service.Answer(func(rw http.ResponseWriter, r *http.Request) {
		_, err := w.Subscriptions.Renew(r.Context(), alice, phone.ID, address(t, moved, w.key))
		assert.NoError(t, err)
		rw.WriteHeader(http.StatusGone)
	})
	assert.Equal(t, delivery.TryAgain, w.Deliver(t.Context(), record(t, phone.ID, nil)).Outcome)
	w.service.Answer(nil)
	assert.Equal(t, "unconfirmed", w.Deliver(t.Context(), record(t, phone.ID, nil)).Reason)
	assert.Zero(t, moved.Got(), "nothing of a mail before it has confirmed")
	there, err := w.Subscriptions.Find(alice, phone.ID)
	require.NoError(t, err)
	_, err = w.Subscriptions.Confirm(t.Context(), alice, phone.ID, there.VerificationCode)
	require.NoError(t, err)
	require.Equal(t, delivery.Delivered, w.Deliver(t.Context(), record(t, phone.ID, nil)).Outcome)
	assert.Len(t, moved.Wait(1), 1)
}

// An outage, whatever it looks like, costs no subscription.
func TestFailuresRemoveNothing(t *testing.T) {
	w := newWorld(t)
	_, phone := w.device(t, "Phone")
	for _, status := range []int{301, 400, 401, 403, 405, 413, 429, 500, 502, 503} {
		w.service.Answer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status) })
		assert.NotEqual(t, delivery.Gone, w.Deliver(t.Context(), record(t, phone.ID, nil)).Outcome)
	}
	w.service.Close()
	assert.Equal(t, delivery.TryAgain, w.Deliver(t.Context(), record(t, phone.ID, nil)).Outcome)
	list, err := w.Subscriptions.List(alice)
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Equal(t, "try_again", list[0].Last.Outcome)
	assert.WithinDuration(t, time.Now(), list[0].Last.Time, time.Minute)
}
