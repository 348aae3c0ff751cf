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

// startDevices starts a Dovecot that reports to a Caddy, which registers those
// who have a device, and delivers to the devices of a push service.
func startDevices(t *testing.T, version dovecottest.Version, service *pushtest.Service) (*withAPI, *dovecottest.Server) {
	t.Helper()
	f := &withAPI{newFront(t, startMiddleware(t).addr), freeAddress(t)}
	dovecot := dovecottest.Start(t, dovecottest.Config{
		Version: version, Users: users(2), ExtraConfig: patient(version),
		Drivers: []dovecottest.Driver{{URL: f.url("http"), Timeout: 10 * time.Second, MaxAttempts: 2}},
	})
	f.deliverToDevices(t, dovecot, service)
	return f, dovecot
}

// deliverToDevices starts it with people who sign in at a Dovecot and have
// devices at a push service.
func (f *withAPI) deliverToDevices(t *testing.T, dovecot *dovecottest.Server, service *pushtest.Service) {
	t.Helper()
	f.Setenv("API_SECRET=" + dovecot.APIKey())
	f.Setenv("SSL_CERT_FILE=" + service.CAFile(t))
	f.config = strings.Replace(f.config, "dovecot_push {\n", "dovecot_push {\n"+
		"doveadm "+dovecot.DoveAdmURL()+" {\napi_secret {env.API_SECRET}\n}\n"+
		"register on_subscribe {\ngrace 1ms\n}\n"+
		"deliver webpush {\ncontact postmaster@example.com\nallow_endpoints "+service.Origin+"\n}\n", 1)
	f.config += "https://" + f.address + " {\ntls internal\ndovecot_push_api /push/* {\nlogin imap imap://" + dovecot.IMAPAddr() + "\n}\n}\n"
	f.start(t)
	awaitCertificate(t, f.address)
}

// subscribe gives a person a device, and hands in the code that it gets.
func (p *person) subscribe(service *pushtest.Service) (device *pushtest.Device, path string) {
	p.t.Helper()
	status, config := p.call(http.MethodGet, "/api/config", "")
	require.Equal(p.t, http.StatusOK, status)
	device = service.Subscribe(p.t, config["applicationServerKey"].(string))
	status, made := p.call(http.MethodPost, "/api/subscriptions", device.JSON(map[string]any{"name": "Phone", "page": "https://mail.example.com/push/", "lang": "de"}))
	require.Equal(p.t, http.StatusCreated, status, made)
	path = "/api/subscriptions/" + made["id"].(string)
	var message struct{ VerificationCode string }
	require.NoError(p.t, json.Unmarshal(device.Wait(1)[0].Plain, &message))
	code, err := json.Marshal(map[string]string{"verificationCode": message.VerificationCode})
	require.NoError(p.t, err)
	status, made = p.call(http.MethodPatch, path, string(code))
	require.Equal(p.t, http.StatusOK, status, made)
	require.Equal(p.t, true, made["confirmed"])
	return device, path
}

func mailOf(t *testing.T, m pushtest.Message) (got mail) {
	t.Helper()
	require.NoError(t, json.Unmarshal(m.Plain, &got), "%s", m.Plain)
	return got
}

// A device is subscribed, and the next mail is on it; it is unsubscribed, or
// its browser drops it, and Dovecot notifies no more.
func TestMailOnADevice(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		const alice, bob = "user0@example.com", "user1@example.com"
		service := pushtest.Start(t)
		f, dovecot := startDevices(t, version, service)
		registered := func(user string, want bool) {
			t.Helper()
			require.Eventually(t, func() bool {
				out, _ := dovecot.Doveadm("mailbox", "metadata", "get", "-s", "-u", user, "", dovecottest.MetadataKey)
				return strings.Contains(out, "user="+user) == want
			}, waitTimeout, 50*time.Millisecond, "%s: %v", user, want)
		}
		one, other := f.person(t), f.person(t)
		require.Equal(t, http.StatusOK, one.signIn(alice, "pass"))
		require.Equal(t, http.StatusOK, other.signIn(bob, "pass"))
		phone, path := one.subscribe(service)
		laptop, _ := other.subscribe(service)
		registered(alice, true)
		registered(bob, true)

		deliver(t, dovecot, "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", alice)
		got := mailOf(t, phone.Wait(2)[1])
		assert.Equal(t, "Grüße", got.Subject)
		assert.Equal(t, "Alice Example <alice@example.net>", got.From)
		assert.Equal(t, "INBOX", got.Folder)
		assert.EqualValues(t, 1, got.UID)
		assert.EqualValues(t, 1, got.Unseen)
		var declared struct {
			WebPush      int `json:"web_push"`
			Notification struct{ Title, Body, Lang, Navigate string }
		}
		require.NoError(t, json.Unmarshal(phone.Wait(2)[1].Plain, &declared))
		assert.Equal(t, 8030, declared.WebPush)
		assert.Equal(t, "Alice Example", declared.Notification.Title)
		assert.Equal(t, "Grüße", declared.Notification.Body)
		assert.Equal(t, "de", declared.Notification.Lang)
		assert.Equal(t, "https://mail.example.com/push/#folder=INBOX&uid=1", declared.Notification.Navigate)
		assert.Equal(t, 1, laptop.Got(), "only the user's own")

		// Keys, devices and sessions outlive a restart; a rotation loses none.
		f.Stop()
		f.start(t)
		awaitCertificate(t, f.address)
		vapid(t, f.Caddy, "rotate")
		deliver(t, dovecot, "after a restart", alice)
		assert.Equal(t, "after a restart", mailOf(t, phone.Wait(3)[2]).Subject)

		status, _ := one.call(http.MethodDelete, path, "")
		require.Equal(t, http.StatusNoContent, status)
		registered(alice, false)
		deliver(t, dovecot, "nobody wants to know", alice)
		deliver(t, dovecot, "for the other one", bob)
		assert.Equal(t, "for the other one", mailOf(t, laptop.Wait(2)[1]).Subject)
		assert.Equal(t, 3, phone.Got())

		laptop.Unsubscribe()
		deliver(t, dovecot, "it has gone", bob)
		registered(bob, false)
		_, list := other.call(http.MethodGet, "/api/subscriptions", "")
		assert.Empty(t, list["subscriptions"])
		var metrics string
		require.Eventually(t, func() bool {
			var err error
			metrics, err = f.Metrics()
			return err == nil && strings.Contains(metrics, `caddy_dovecot_push_delivery_attempts_total{outcome="gone",target="webpush"} 1`)
		}, waitTimeout, 50*time.Millisecond)
		for _, secret := range []string{phone.Endpoint, "/push/", alice, bob} {
			assert.NotContains(t, metrics, secret)
		}
	})
}
