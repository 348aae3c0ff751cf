// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package fcm

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device/devicetest"
	mail "github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func TestMessages(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		for _, shown := range []bool{false, true} {
			service := pushtest.StartFCM(t)
			devices, _ := newDevices(t, service)
			devices.Sealed, devices.Notification = sealed, shown
			app := service.Install(t, service.Project)
			phone := subscriptionOf(t, app)
			phone.VerificationCode = "secret code"

			read := devicetest.NewMail()
			read.Event = mail.MessageRead
			for _, send := range []func() delivery.Result{
				func() delivery.Result { return devices.SendMail(t.Context(), phone, devicetest.NewMail()) },
				func() delivery.Result { return devices.SendMail(t.Context(), phone, read) },
				func() delivery.Result { return devices.SendCode(t.Context(), phone) },
				func() delivery.Result { return devices.SendTest(t.Context(), phone) },
			} {
				require.Equal(t, delivery.Result{Outcome: delivery.Delivered}, send())
			}
			phone.Preferences.Urgency = subscription.Normal
			require.Equal(t, delivery.Delivered, devices.SendMail(t.Context(), phone, devicetest.NewMail()).Outcome)
			phone.Preferences.Urgency = ""
			for _, summary := range []mail.Summary{devicetest.NewSummary(12), devicetest.NewSummary(0)} {
				require.Equal(t, delivery.Delivered, devices.SendSummary(t.Context(), phone, summary).Outcome)
			}
			got := app.Wait(7)
			for i, want := range []struct{ priority, ttl, text, shown string }{
				{"HIGH", "86400s", `"event":"messageNew"`, "new_mail"},
				{"NORMAL", "86400s", `"event":"messageRead"`, ""},
				{"HIGH", "3600s", `{"@type":"PushVerification","pushSubscriptionId":"42","verificationCode":"secret code"}`, ""},
				{"HIGH", "60s", `"@type":"Test"`, "test_message"},
				{"NORMAL", "86400s", `"event":"messageNew"`, "new_mail"},
				{"HIGH", "86400s", `{"@type":"Summary","id":"ab","count":12,`, "new_mail"},
				{"NORMAL", "86400s", `{"@type":"Summary","id":"ab","count":0,`, ""},
			} {
				var r request
				require.NoError(t, json.Unmarshal(got[i].Body, &r))
				a := r.Message.Android
				assert.Equal(t, []string{want.priority, want.ttl}, []string{a.Priority, a.TTL})
				assert.Equal(t, i == 0 || i >= 4, a.CollapseKey != "", "of a folder, the newest mail only")
				assert.Contains(t, string(got[i].Text), want.text)
				assert.Equal(t, sealed, got[i].Sealed)
				assert.Equal(t, sealed, !strings.Contains(string(got[i].Body), "@type"))
				if shown && want.shown != "" {
					require.NotNil(t, a.Notification)
					assert.Equal(t, want.shown, a.Notification.BodyLocKey)
				} else {
					assert.Nil(t, a.Notification)
				}
			}
			assert.Equal(t, 1, service.Exchanges(), "one access token for all")
		}
	}
}

// Whatever a sender writes, something arrives, within what FCM takes.
func TestLongMails(t *testing.T) {
	service := pushtest.StartFCM(t)
	for _, sealed := range []bool{false, true} {
		devices, _ := newDevices(t, service)
		devices.Sealed, devices.Notification = sealed, true
		for n := range 48 {
			app := service.Install(t, service.Project)
			m := devicetest.NewMail()
			m.Folder = strings.Repeat("f", 60*n%1000)
			m.From, m.Subject, m.Snippet = strings.Repeat("é", 12*n), strings.Repeat(`"`, 10*n), strings.Repeat("x", 21*n)
			require.Equal(t, delivery.Result{Outcome: delivery.Delivered}, devices.SendMail(t.Context(), subscriptionOf(t, app), m), n)
			var got mail.Mail
			require.NoError(t, json.Unmarshal(app.Wait(1)[0].Text, &got))
			assert.Equal(t, m.Folder, got.Folder)
			for _, member := range [][2]string{{m.From, got.From}, {m.Subject, got.Subject}, {m.Snippet, got.Snippet}} {
				assert.Contains(t, []string{"", member[0]}, member[1], "whole members")
			}
			if n < 20 {
				assert.Equal(t, m, got)
			}
		}
	}
}

func TestDeviceThatIsGone(t *testing.T) {
	service := pushtest.StartFCM(t)
	devices, _ := newDevices(t, service)
	app := service.Install(t, service.Project)
	phone := subscriptionOf(t, app)
	require.Equal(t, delivery.Delivered, devices.SendMail(t.Context(), phone, devicetest.NewMail()).Outcome)
	app.Uninstall()
	assert.Equal(t, "unregistered", devices.SendMail(t.Context(), phone, devicetest.NewMail()).Reason)

	other := subscriptionOf(t, service.Install(t, "of-somebody-else"))
	r := devices.SendMail(t.Context(), other, devicetest.NewMail())
	assert.Equal(t, []any{"project_unknown", delivery.FaultOfService}, []any{r.Reason, r.Fault})
	other.App = service.Project
	r = devices.SendMail(t.Context(), other, devicetest.NewMail())
	assert.Equal(t, []any{"sender_id_mismatch", delivery.FaultOfItem}, []any{r.Reason, r.Fault})
	assert.ErrorContains(t, r.Err, "another Firebase project")
	other.Token = "nobody"
	assert.Equal(t, []any{"invalid_token", delivery.Gone}, func() []any {
		r := devices.SendMail(t.Context(), other, devicetest.NewMail())
		return []any{r.Reason, r.Outcome}
	}())
	devices.Sealed, phone.Keys = true, subscription.Keys{}
	r = devices.SendMail(t.Context(), phone, devicetest.NewMail())
	assert.Equal(t, []any{"no_keys", delivery.FaultOfItem, delivery.Misconfigured}, []any{r.Reason, r.Fault, r.Outcome}, "nothing is sent in clear")
}

func TestCheckAddress(t *testing.T) {
	service := pushtest.StartFCM(t)
	devices, _ := newDevices(t, service)
	app := service.Install(t, service.Project)
	for _, c := range []struct {
		a     subscription.Address
		field string
	}{
		{subscription.Address{Token: app.Token}, ""},
		{subscription.Address{Token: app.Token, App: service.Project}, ""},
		{subscription.Address{Token: app.Token, App: "another"}, "app"},
		{subscription.Address{Token: app.Token, Environment: "sandbox"}, "environment"},
		{subscription.Address{}, "token"},
		{subscription.Address{Token: "short"}, "token"},
		{subscription.Address{Token: app.Token + "/"}, "token"},
		{subscription.Address{Token: strings.Repeat("x", 2049)}, "token"},
		{subscription.Address{Endpoint: "https://push.example.net"}, "token"},
	} {
		err := devices.CheckAddress(t.Context(), &c.a)
		if c.field == "" {
			require.NoError(t, err)
			assert.Equal(t, service.Project, c.a.App)
			continue
		}
		var wrong *subscription.FieldError
		require.ErrorAs(t, err, &wrong)
		assert.Equal(t, c.field, wrong.Field)
	}
	devices.Sealed = true
	assert.ErrorContains(t, devices.CheckAddress(t.Context(), &subscription.Address{Token: app.Token}), "keys")
}

// The doctor asks without a device.
func TestProbe(t *testing.T) {
	service := pushtest.StartFCM(t)
	devices, id := newDevices(t, service)
	assert.Equal(t, delivery.Result{Outcome: delivery.Delivered}, devices.Probe(t.Context()))
	devices.Account.Project = "another"
	assert.Equal(t, "permission_denied", devices.Probe(t.Context()).Reason)
	service.Revoke(id)
	service.Forget()
	r := devices.Probe(t.Context())
	assert.Equal(t, "access_token", r.Reason)
	assert.ErrorContains(t, r.Err, "key of the service account was deleted")
}
