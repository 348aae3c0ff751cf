// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package fcm

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device/devicetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

func TestAccountsThatAreNone(t *testing.T) {
	service := pushtest.StartFCM(t)
	good, _, err := service.NewAccount()
	require.NoError(t, err)
	none := func(string) (*http.Client, error) { return http.DefaultClient, nil }
	_, err = NewAccount(good, none)
	require.NoError(t, err)
	for member, value := range map[string]string{
		"type": "authorized_user", "project_id": "", "private_key": "secret", "client_email": "", "token_uri": "http://127.0.0.1/token",
		"client_x509_cert_url": "https://user@127.0.0.1/x509",
	} {
		var is map[string]string
		require.NoError(t, json.Unmarshal(good, &is))
		is[member] = value
		text, err := json.Marshal(is)
		require.NoError(t, err)
		_, err = NewAccount(text, none)
		require.ErrorIs(t, err, errAccount, member)
	}
	_, err = NewAccount([]byte("secret"), none)
	require.ErrorIs(t, err, errAccount)
}

// An access token is renewed before it ends, by one for all, and again after Google
// has forgotten it, and no message of many at once fails.
func TestRenewalUnderLoad(t *testing.T) {
	service := pushtest.StartFCM(t)
	service.Life = renewEarly + time.Second // so that each is renewed while it is used
	devices, _ := newDevices(t, service)
	phone := subscriptionOf(t, service.Install(t, service.Project))
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for n := range 10 {
				if i == 0 && n == 5 {
					service.Forget()
				}
				assert.Equal(t, delivery.Result{Outcome: delivery.Delivered}, devices.SendMail(t.Context(), phone, devicetest.NewMail()))
			}
		})
	}
	wg.Wait()
	assert.GreaterOrEqual(t, service.Exchanges(), 2)
	assert.Less(t, service.Exchanges(), 32)

	// While there is a good one, it does not matter that no other one can be had.
	devices.Account.mu.Lock()
	devices.Account.until = time.Now().Add(renewEarly / 2)
	devices.Account.mu.Unlock()
	service.AnswerToken(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	require.Equal(t, delivery.Delivered, devices.SendMail(t.Context(), phone, devicetest.NewMail()).Outcome)
}

// What Google answers to the service account.
func TestExchanges(t *testing.T) {
	service := pushtest.StartFCM(t)
	phone := subscriptionOf(t, service.Install(t, service.Project))
	say := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for _, c := range []struct {
		answer  http.HandlerFunc
		outcome delivery.Outcome
		fault   delivery.Fault
		text    string
	}{
		{say(400, `{"error":"invalid_grant","error_description":"s3cret"}`), delivery.Misconfigured, delivery.FaultOfService, "clock"},
		{say(401, `{"error":"unauthorized_client"}`), delivery.Misconfigured, delivery.FaultOfService, "disabled"},
		{say(403, ``), delivery.Misconfigured, delivery.FaultOfService, "403"},
		{say(429, ``), delivery.TryAgain, delivery.FaultOfService, "429"},
		{say(500, `s3cret`), delivery.TryAgain, delivery.FaultOfService, "500"},
		{say(200, `s3cret`), delivery.TryAgain, delivery.FaultUnknown, "no access token"},
		{say(200, `{}`), delivery.TryAgain, delivery.FaultUnknown, "no access token"},
		{func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, delivery.TryAgain, delivery.FaultUnknown, ""},
	} {
		devices, _ := newDevices(t, service)
		service.AnswerToken(c.answer)
		r := devices.SendMail(t.Context(), phone, devicetest.NewMail())
		assert.Equal(t, c.outcome.String(), r.Outcome.String(), c.text)
		assert.Equal(t, c.fault, r.Fault, c.text)
		require.ErrorContains(t, r.Err, c.text)
		assert.NotContains(t, r.Err.Error(), "s3cret")
		assert.Regexp(t, `^[a-z_]+$`, r.Reason)
	}
	service.AnswerToken(nil)
	service.Clock = func() time.Time { return time.Now().Add(2 * time.Hour) }
	devices, _ := newDevices(t, service)
	assert.ErrorContains(t, devices.SendMail(t.Context(), phone, devicetest.NewMail()).Err, "clock")

	// An attempt does not wait longer than it may.
	devices, _ = newDevices(t, service)
	release := make(chan struct{})
	service.AnswerToken(func(http.ResponseWriter, *http.Request) { <-release })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	assert.Equal(t, "timeout", devices.SendMail(ctx, phone, devicetest.NewMail()).Reason)
	close(release)
}
