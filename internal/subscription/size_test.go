// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// The entry of a user is not larger than docs/security.md says, whatever the
// user's devices are made of.
func TestSizeOfAnEntry(t *testing.T) {
	const documented = 364 << 10
	largest := 0
	for _, name := range []string{"😀", `"`, "<", "é"} {
		for _, address := range []Address{
			{Endpoint: "https://push.example/" + strings.Repeat("&", MaxEndpoint-len("https://push.example/"))},
			{Token: strings.Repeat("<", MaxToken), App: strings.Repeat("<", MaxApp), Environment: strings.Repeat("<", MaxApp)},
		} {
			d := Subscription{
				ID: strings.Repeat("A", 26), Kind: "a-kind", Name: strings.Repeat(name, MaxName), DeviceClientID: strings.Repeat("<", MaxDeviceClientID),
				Endpoint: address.Endpoint, Token: address.Token, App: address.App, Environment: address.Environment,
				Page: "https://mail.example/" + strings.Repeat("&", MaxPage-len("https://mail.example/")), Lang: strings.Repeat("a", MaxLang),
				Keys: newKeys(t), ServerKey: strings.Repeat("A", 87),
				Created: now(), Expires: now(), ConfirmedAt: now(), PushServiceExpiry: now(),
				Last: &Delivery{Time: time.Now(), Outcome: "misconfigured"},
				Preferences: Preferences{
					Content: "sender", Urgency: Normal, MutedUntil: MuteUntil(now()),
					Folders:    slices.Repeat([]string{strings.Repeat(name, MaxFoldersSize/MaxFolders/len(name))}, MaxFolders),
					NotFrom:    slices.Repeat([]string{"@" + strings.Repeat("&", MaxSendersSize/MaxSenders-1)}, MaxSenders),
					QuietHours: &QuietHours{Start: "22:00", End: "07:00", Days: days, TimeZone: "America/North_Dakota/New_Salem"},
				},
			}
			var events []Silenced
			for uid := range uint32(2 * MaxHeld) {
				n := &notification.Notification{Folder: name, UIDValidity: 1<<32 - 1, UID: 1<<32 - 1 - uid}
				events = append(events, Silenced{Event: notification.MessageNew, Mail: NewHeldMail(n, strings.Repeat(name, 100/len(name)))})
			}
			d.Held = holdAll(events...)
			require.True(t, d.Held.More)
			d.Held.Withdrawn, d.Held.Unseen, d.Held.Claimed = true, new(uint32), now()
			require.NoError(t, d.check())
			require.NoError(t, d.Preferences.Check())
			list := make([]Subscription, MaxPerUser)
			for i := range list {
				list[i] = d
			}
			text, err := encode(list)
			require.NoError(t, err)
			largest = max(largest, len(text))
		}
	}
	t.Logf("%d bytes", largest)
	assert.LessOrEqual(t, largest, documented)
}
