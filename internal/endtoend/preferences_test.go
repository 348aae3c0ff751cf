// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// Each device of a user gets what its user prefers there, from the next mail on. A
// device that is added has the defaults of the operator.
func TestPreferencesOfDevices(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		const alice = "user0@example.com"
		service := pushtest.Start(t)
		f, dovecot := startDevices(t, version, service)
		f.config = strings.Replace(f.config, "deliver webpush", "device_defaults {\nurgency normal\n}\ndeliver webpush", 1)
		require.NoError(t, f.Reload(f.config))
		silenced := func(why string) {
			t.Helper()
			require.Eventually(t, func() bool {
				return strings.Contains(mustMetrics(t, f.front), `caddy_dovecot_push_delivery_silenced_total{reason="`+why+`",target="webpush"} 1`)
			}, waitTimeout, 50*time.Millisecond)
		}
		person := f.person(t)
		require.Equal(t, http.StatusOK, person.signIn(alice, "pass"))
		phone, phonePath := person.subscribe(service)
		laptop, laptopPath := person.subscribe(service)
		prefer := func(path, preferences string) {
			t.Helper()
			status, got := person.call(http.MethodPatch, path, `{"preferences":`+preferences+`}`)
			require.Equal(t, http.StatusOK, status, got)
		}
		require.Eventually(t, func() bool {
			out, _ := dovecot.Doveadm("mailbox", "metadata", "get", "-s", "-u", alice, "", dovecottest.MetadataKey)
			return strings.Contains(out, "user="+alice)
		}, waitTimeout, 50*time.Millisecond)

		prefer(phonePath, `{"mutedUntil":"forever"}`)
		prefer(laptopPath, `{"content":"thin"}`)
		deliver(t, dovecot, "one", alice)
		got := laptop.Wait(2)[1]
		assert.Equal(t, "normal", got.Urgency, "the default of the operator")
		assert.NotContains(t, string(got.Plain), "example.net")
		silenced("muted")

		// What was held back outlives a crash, and is said once the mute is over.
		deliver(t, dovecot, "again", alice)
		laptop.Wait(3)
		require.Eventually(t, func() bool {
			return strings.Contains(mustMetrics(t, f.front), "caddy_dovecot_push_queue_notifications 0")
		}, waitTimeout, 50*time.Millisecond)
		f.Kill()
		f.start(t)
		awaitCertificate(t, f.address)
		person.awaitDevices()
		prefer(phonePath, `{"mutedUntil":null,"urgency":"high"}`)
		got = phone.Wait(2)[1]
		assert.Equal(t, "high", got.Urgency)
		var summary struct {
			Type         string `json:"@type"`
			Count        int
			Unseen       int
			From         []string
			Notification struct {
				Title, Lang string
				Badge       int `json:"app_badge"`
			}
		}
		require.NoError(t, json.Unmarshal(got.Plain, &summary))
		assert.Equal(t, []any{"Summary", 2, 2, "2 neue Mails", "de", 2},
			[]any{summary.Type, summary.Count, summary.Unseen, summary.Notification.Title, summary.Notification.Lang, summary.Notification.Badge})
		assert.NotEmpty(t, summary.From)

		prefer(laptopPath, `{"notFrom":["@example.net"]}`)
		deliver(t, dovecot, "two", alice)
		got = phone.Wait(3)[2]
		assert.Equal(t, "high", got.Urgency)
		assert.Equal(t, "two", mailOf(t, got).Subject)
		silenced("sender")
		assert.Equal(t, 3, phone.Got())
		assert.Equal(t, 3, laptop.Got())

		// What was read meanwhile is not among it.
		prefer(phonePath, `{"mutedUntil":"forever"}`)
		deliver(t, dovecot, "unread", alice)
		_, err := dovecot.Doveadm("flags", "add", "-u", alice, `\Seen`, "mailbox", "INBOX", "NOT", "subject", "unread")
		require.NoError(t, err)
		silenced("muted")
		prefer(phonePath, `{"mutedUntil":null}`)
		require.NoError(t, json.Unmarshal(phone.Wait(4)[3].Plain, &summary))
		assert.Equal(t, []any{1, 1}, []any{summary.Count, summary.Unseen})

		prefer(laptopPath, `null`)
		deliver(t, dovecot, "three", alice)
		assert.Equal(t, "three", mailOf(t, laptop.Wait(4)[3]).Subject)
		out, err := f.command("subscriptions", alice)
		require.NoError(t, err, out)
		assert.Contains(t, out, "urgency", "of the phone")
		assert.NotContains(t, out, "example.net")
	})
}
