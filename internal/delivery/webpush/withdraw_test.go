// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"cmp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// A mail that was read elsewhere needs no attention any more: devices are told
// so, each mail separately and without waking them up.
func TestWithdraw(t *testing.T) {
	w := newWorld(t)
	device, phone := w.device(t, "Phone")
	device.Online(false)
	for uid := range 3 {
		for _, event := range []notification.Event{notification.MessageNew, notification.MessageRead} {
			r := record(t, phone.ID, map[string]any{"imap-uid": uid + 1, "event": event})
			require.Equal(t, delivery.Delivered, w.Deliver(t.Context(), r).Outcome)
		}
	}
	device.Online(true)
	urgencies := make(map[string]int)
	for _, m := range device.Wait(4) {
		urgencies[m.Urgency]++
	}
	assert.Equal(t, map[string]int{"high": 1, "low": 3}, urgencies, "the newest mail, and each that was read")
}

// What happens to a mail or a folder otherwise is of no interest to a device.
func TestEventsWithoutInterest(t *testing.T) {
	w := newWorld(t)
	w.device(t, "Phone")
	for _, event := range notification.AllEvents {
		got, err := w.Destinations(t.Context(), record(t, "", map[string]any{"event": event}))
		require.NoError(t, err)
		if event == notification.MessageNew || event.Withdraws() {
			assert.Len(t, got, 1, event)
		} else {
			assert.Empty(t, got, event)
		}
	}
}

// Mails may wait until a phone is awake if its user prefers that.
func TestUrgencyOfADevice(t *testing.T) {
	w := newWorld(t)
	device, phone := w.device(t, "Phone")
	for i, urgency := range []subscription.Urgency{subscription.Normal, subscription.High, ""} {
		_, err := w.Subscriptions.Prefer(t.Context(), alice, phone.ID, func(subscription.Preferences) (subscription.Preferences, error) {
			return subscription.Preferences{Urgency: urgency}, nil
		})
		require.NoError(t, err)
		require.Equal(t, delivery.Delivered, w.Deliver(t.Context(), record(t, phone.ID, nil)).Outcome)
		assert.Equal(t, string(cmp.Or(urgency, subscription.High)), device.Wait(i + 1)[i].Urgency)
	}
}
