// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package apns

import (
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device/devicetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

func TestMessages(t *testing.T) {
	for _, environment := range []string{"", "sandbox"} {
		for _, sealed := range []bool{false, true} {
			service := pushtest.StartAPNs(t, topic)
			devices, _ := newDevices(t, service)
			devices.Sealed = sealed
			app := service.Install(t, topic, environment)
			phone := subscriptionOf(t, app)
			phone.VerificationCode = "secret code"

			read := devicetest.NewMail()
			read.Event = notification.MessageRead
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
			for _, summary := range []notification.Summary{devicetest.NewSummary(12), devicetest.NewSummary(0)} {
				require.Equal(t, delivery.Delivered, devices.SendSummary(t.Context(), phone, summary).Outcome)
			}
			got := app.Wait(7)
			for i, want := range []struct {
				kind, priority string
				ttl            time.Duration
				text           string
			}{
				{"alert", "10", 24 * time.Hour, `"event":"messageNew"`},
				{"background", "5", 24 * time.Hour, `"event":"messageRead"`},
				{"background", "5", time.Hour, `{"@type":"PushVerification","pushSubscriptionId":"42","verificationCode":"secret code"}`},
				{"alert", "10", time.Minute, `"@type":"Test"`},
				{"alert", "5", 24 * time.Hour, `"event":"messageNew"`},
				{"alert", "10", 24 * time.Hour, `{"@type":"Summary","id":"ab","count":12,`},
				{"background", "5", 24 * time.Hour, `{"@type":"Summary","id":"ab","count":0,`},
			} {
				h := got[i].Header
				assert.Equal(t, want.kind, h.Get("Apns-Push-Type"))
				assert.Equal(t, want.priority, h.Get("Apns-Priority"))
				assert.Equal(t, topic, h.Get("Apns-Topic"))
				expires, err := strconv.ParseInt(h.Get("Apns-Expiration"), 10, 64)
				require.NoError(t, err)
				assert.WithinDuration(t, time.Now().Add(want.ttl), time.Unix(expires, 0), time.Minute)
				assert.Contains(t, string(got[i].Text), want.text)
				assert.Equal(t, sealed, got[i].Sealed)
				assert.Equal(t, want.kind == "alert", strings.Contains(string(got[i].Body), `"mutable-content":1`), "so that the app's extension is asked")
				assert.Equal(t, sealed, !strings.Contains(string(got[i].Body), "@type"))
			}
			assert.Contains(t, string(got[0].Body), `"sound":"default"`)
			assert.NotContains(t, string(got[4].Body), `"sound"`, "its user prefers that it waits")
			assert.NotEmpty(t, got[0].Header.Get("Apns-Collapse-Id"))
			assert.NotEqual(t, got[0].Header.Get("Apns-Collapse-Id"), got[1].Header.Get("Apns-Collapse-Id"))
			assert.Empty(t, got[2].Header.Get("Apns-Collapse-Id"))
			assert.NotEqual(t, got[0].Header.Get("Apns-Collapse-Id"), got[5].Header.Get("Apns-Collapse-Id"))
			assert.Equal(t, got[5].Header.Get("Apns-Collapse-Id"), got[6].Header.Get("Apns-Collapse-Id"))
		}
	}
}

// Whatever a sender writes, something arrives, within what APNs takes.
func TestLongMails(t *testing.T) {
	service := pushtest.StartAPNs(t, topic)
	for _, sealed := range []bool{false, true} {
		devices, _ := newDevices(t, service)
		devices.Sealed = sealed
		for n := range 48 {
			app := service.Install(t, topic, "")
			m := devicetest.NewMail()
			m.Folder = strings.Repeat("f", 60*n%1000)
			m.From, m.Subject, m.Snippet = strings.Repeat("é", 12*n), strings.Repeat(`"`, 10*n), strings.Repeat("x", 21*n)
			require.Equal(t, delivery.Result{Outcome: delivery.Delivered}, devices.SendMail(t.Context(), subscriptionOf(t, app), m), n)
			got := app.Wait(1)[0]
			assert.LessOrEqual(t, len(got.Body), maxPayload)
			var mail notification.Mail
			require.NoError(t, json.Unmarshal(got.Text, &mail))
			assert.Equal(t, m.Folder, mail.Folder)
			for _, member := range [][2]string{{m.From, mail.From}, {m.Subject, mail.Subject}, {m.Snippet, mail.Snippet}} {
				assert.Contains(t, []string{"", member[0]}, member[1], "whole members")
			}
			if n < 20 {
				assert.Equal(t, m, mail)
			}
		}
		full := devicetest.NewMail()
		full.Folder = ""
		room := devices.room(alertMail)
		for full.Snippet = strings.Repeat("x", room-400); ; full.Snippet += "x" {
			payload, err := json.Marshal(full)
			require.NoError(t, err)
			if len(payload) == room {
				break
			}
		}
		app := service.Install(t, topic, "")
		require.Equal(t, delivery.Delivered, devices.SendMail(t.Context(), subscriptionOf(t, app), full).Outcome)
		assert.GreaterOrEqual(t, len(app.Wait(1)[0].Body), maxPayload-1, "all of the room is used")
	}
}

func TestDeviceThatIsGone(t *testing.T) {
	service := pushtest.StartAPNs(t, topic)
	devices, _ := newDevices(t, service)
	app := service.Install(t, topic, "")
	phone := subscriptionOf(t, app)
	app.Uninstall()
	assert.Equal(t, delivery.Gone, devices.SendMail(t.Context(), phone, devicetest.NewMail()).Outcome)
	phone.ConfirmedAt = time.Now().Add(time.Second)
	r := devices.SendMail(t.Context(), phone, devicetest.NewMail())
	assert.Equal(t, delivery.TryAgain, r.Outcome, "it has confirmed since APNs lost it")
	assert.Equal(t, delivery.FaultOfItem, r.Fault)

	other := subscriptionOf(t, service.Install(t, otherTopic, ""))
	assert.Equal(t, "topic_disallowed", devices.SendMail(t.Context(), other, devicetest.NewMail()).Reason)
	other.App = topic
	assert.Equal(t, "device_token_not_for_topic", devices.SendMail(t.Context(), other, devicetest.NewMail()).Reason)
	other.App = "com.example.removed"
	r = devices.SendMail(t.Context(), other, devicetest.NewMail())
	assert.Equal(t, []any{"topic_unknown", delivery.FaultOfService}, []any{r.Reason, r.Fault})
	devices.Sealed, phone.Keys = true, subscription.Keys{}
	r = devices.SendMail(t.Context(), phone, devicetest.NewMail())
	assert.Equal(t, []any{"no_keys", delivery.FaultOfItem, delivery.Misconfigured}, []any{r.Reason, r.Fault, r.Outcome}, "nothing is sent in clear")
}

// A server that takes few streams, and one that closes its connections again and
// again, lose nothing.
func TestStreamLimitAndGoAway(t *testing.T) {
	for name, limits := range map[string]struct {
		streams int
		goAway  int64
	}{"few streams": {4, 0}, "GOAWAY": {100, 7}} {
		t.Run(name, func(t *testing.T) {
			service := pushtest.NewAPNs(limits.streams, topic)
			defer service.Close()
			service.GoAwayEvery.Store(limits.goAway)
			devices, _ := newDevices(t, service)
			phone := subscriptionOf(t, service.Install(t, topic, ""))
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for range 5 {
						r := devices.SendMail(t.Context(), phone, devicetest.NewMail())
						// net/http gives up after seven connections that were closed; the engine does not.
						for again := 0; r.Reason == "protocol" && again < 3; again++ {
							assert.Equal(t, delivery.TryAgain, r.Outcome)
							r = devices.SendMail(t.Context(), phone, devicetest.NewMail())
						}
						assert.Equal(t, delivery.Result{Outcome: delivery.Delivered}, r)
					}
				})
			}
			wg.Wait()
			assert.GreaterOrEqual(t, service.Posts(), 320)
		})
	}
}

func TestCheckAddress(t *testing.T) {
	service := pushtest.StartAPNs(t, topic)
	devices, _ := newDevices(t, service)
	good := strings.Repeat("0Fa1", 16)
	keys := subscriptionOf(t, service.Install(t, topic, "")).Keys
	for _, c := range []struct {
		a     subscription.Address
		field string
	}{
		{subscription.Address{Token: good, App: topic}, ""},
		{subscription.Address{Token: good, App: topic, Environment: "production"}, ""},
		{subscription.Address{Token: good, App: otherTopic, Environment: "sandbox"}, ""},
		{subscription.Address{Token: good}, "app"},
		{subscription.Address{Token: good, App: "com.example.other"}, "app"},
		{subscription.Address{Token: good, App: topic, Environment: "test"}, "environment"},
		{subscription.Address{App: topic}, "token"},
		{subscription.Address{Token: "0F", App: topic}, "token"},
		{subscription.Address{Token: good[1:], App: topic}, "token"},
		{subscription.Address{Token: good[:63] + "/", App: topic}, "token"},
		{subscription.Address{Token: strings.Repeat("0", 202), App: topic}, "token"},
		{subscription.Address{Endpoint: "https://push.example.net", App: topic}, "token"},
	} {
		err := devices.CheckAddress(t.Context(), &c.a)
		if c.field == "" {
			require.NoError(t, err)
			assert.Equal(t, strings.ToLower(good), c.a.Token)
			assert.Contains(t, []string{"", "sandbox"}, c.a.Environment)
			continue
		}
		var wrong *subscription.FieldError
		require.ErrorAs(t, err, &wrong)
		assert.Equal(t, c.field, wrong.Field)
	}
	devices.Topics, devices.Sealed = []string{topic}, true
	a := subscription.Address{Token: good}
	assert.ErrorContains(t, devices.CheckAddress(t.Context(), &a), "keys")
	a.Keys = keys
	require.NoError(t, devices.CheckAddress(t.Context(), &a))
	assert.Equal(t, topic, a.App, "there is one")
}

// The doctor asks without a device.
func TestProbe(t *testing.T) {
	service := pushtest.StartAPNs(t, topic)
	devices, id := newDevices(t, service)
	devices.Topics = []string{topic}
	assert.Equal(t, delivery.Result{Outcome: delivery.Delivered}, devices.Probe(t.Context()))
	devices.Topics = []string{topic, otherTopic}
	r := devices.Probe(t.Context())
	assert.Equal(t, "topic_disallowed", r.Reason)
	assert.ErrorContains(t, r.Err, otherTopic)
	service.Revoke(id)
	assert.Equal(t, "invalid_provider_token", devices.Probe(t.Context()).Reason)
}

// Nothing but HTTP/2 is spoken to APNs.
func TestHTTP2Only(t *testing.T) {
	service := pushtest.StartAPNs(t, topic)
	devices, _ := newDevices(t, service)
	phone := subscriptionOf(t, service.Install(t, topic, ""))
	old := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("HTTP/1.1 was spoken") }))
	defer old.Close()
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	pool := x509.NewCertPool()
	pool.AddCert(old.Certificate())
	policy, err := outbound.NewPolicy(old.URL)
	require.NoError(t, err)
	devices.Client = outbound.NewClient(outbound.Config{Policy: policy, RootCAs: pool, HTTP2: true})
	defer devices.Client.CloseIdleConnections()
	devices.Production = old.URL
	assert.Equal(t, delivery.TryAgain, devices.SendMail(t.Context(), phone, devicetest.NewMail()).Outcome)
}
