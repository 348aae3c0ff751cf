// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device/devicetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/sealed"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

var summaryCatalogs = map[string]map[string]string{
	"en": {
		"notification.summary.one": "One new mail", "notification.summary.other": "{count} new mails", "notification.from": "From {names}",
		"notification.fromOthers.one": "From {names} and one other", "notification.fromOthers.other": "From {names} and {count} others",
		"notification.upToDate": "You are up to date",
	},
	"pl": {
		"notification.summary.one": "Jedna nowa", "notification.summary.few": "{count} nowe", "notification.summary.many": "{count} nowych", //nolint:misspell // Polish
		"notification.summary.other": "{count} nowej", "notification.from": "Od: {names}", "notification.fromOthers.one": "Od: {names} i jeszcze jeden",
		"notification.fromOthers.few": "Od: {names} i {count} inni", "notification.fromOthers.many": "Od: {names} i {count} innych",
		"notification.fromOthers.other": "Od: {names} i {count} innego", "notification.upToDate": "Wszystko przeczytane",
	},
}

func TestSummaryTexts(t *testing.T) {
	for _, c := range []struct {
		lang string
		s    notification.Summary
		want [2]string
	}{
		{"en", notification.Summary{Count: 12, From: []string{"Anna", "Bob"}, Others: 3}, [2]string{"12 new mails", "From Anna, Bob and 3 others"}},
		{"en", notification.Summary{Count: 3, From: []string{"Anna", "Bob"}, Others: 1}, [2]string{"3 new mails", "From Anna, Bob and one other"}},
		{"en", notification.Summary{Count: 2, From: []string{"{count}", "Bob"}}, [2]string{"2 new mails", "From {count}, Bob"}},
		{"en", notification.Summary{Count: 1, From: []string{"Anna"}}, [2]string{"One new mail", "From Anna"}},
		{"en", notification.Summary{Count: 100, More: true}, [2]string{"100+ new mails", ""}},
		{"pl", notification.Summary{Count: 3, From: []string{"Anna"}, Others: 22}, [2]string{"3 nowe", "Od: Anna i 22 inni"}}, //nolint:misspell // Polish
		{"pl", notification.Summary{Count: 12, From: []string{"Anna"}, Others: 5}, [2]string{"12 nowych", "Od: Anna i 5 innych"}},
		{"pl", notification.Summary{Count: 1}, [2]string{"Jedna nowa", ""}},
	} {
		title, body := summaryTexts(summaryCatalogs[c.lang], c.lang, &c.s)
		assert.Equal(t, c.want, [2]string{title, body})
	}
}

// A summary is a declarative message as well, and fits whatever senders are called.
func TestSummaryIsDeclared(t *testing.T) {
	devices := &Devices{Texts: summaryCatalogs}
	d := &subscription.Subscription{Page: testPage, Lang: "pl"}
	for _, name := range []string{"Anna", strings.Repeat("\u2028", subscription.MaxHeldName/3), strings.Repeat(`"`, subscription.MaxHeldName)} {
		s := devicetest.NewSummary(12)
		s.From = []string{name, name}
		payload, err := devices.declareSummary(d, s)
		require.NoError(t, err)
		require.LessOrEqual(t, len(payload), sealed.MaxPlaintext)
		got, failure := parseDeclarative(payload)
		require.Empty(t, failure)
		assert.Equal(t, []string{"12 nowych", "Od: " + name + ", " + name + " i 3 inni", "summary", testPage, "12", "pl"},
			[]string{got.Title, got.Body, got.Tag, got.Navigate.String(), got.AppBadge, got.Lang})
		assert.False(t, got.Silent)
		var older notification.Summary // that of a worker which is given the message
		require.NoError(t, json.Unmarshal(payload, &older))
		assert.Equal(t, s, older)
		data, err := json.Marshal(got.Data)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data, &older))
		assert.Equal(t, s, older)
	}
	payload, err := devices.declareSummary(d, devicetest.NewSummary(0))
	require.NoError(t, err)
	got, failure := parseDeclarative(payload)
	require.Empty(t, failure)
	assert.Equal(t, []any{"Wszystko przeczytane", "", true, "0"}, []any{got.Title, got.Body, got.Silent, got.AppBadge})
}

// A device that is off gets the last summary, beside the last mail.
func TestSummaryOfADevice(t *testing.T) {
	w := newWorld(t)
	device, phone := w.device(t, "Phone")
	device.Online(false)
	require.Equal(t, delivery.Delivered, w.Deliver(t.Context(), record(t, phone.ID, nil)).Outcome)
	for _, count := range []int{12, 0, 3} {
		require.Equal(t, delivery.Delivered, w.devices.SendSummary(t.Context(), &phone, devicetest.NewSummary(count)).Outcome)
	}
	device.Online(true)
	got := device.Wait(2)
	assert.Equal(t, []string{"high", "high"}, []string{got[0].Urgency, got[1].Urgency})
	assert.Contains(t, string(got[1].Plain), `{"@type":"Summary","id":"ab","count":3,`)
	require.Equal(t, delivery.Delivered, w.devices.SendSummary(t.Context(), &phone, devicetest.NewSummary(0)).Outcome)
	assert.Equal(t, "low", device.Wait(3)[2].Urgency)
}
