// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package fcm

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device/devicetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/targettest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

func TestConformance(t *testing.T) {
	service := pushtest.StartFCM(t)
	devices, _ := newDevices(t, service)
	devices.Account.text, devices.Account.until = "ya29.token", time.Now().Add(time.Hour)
	phone := subscriptionOf(t, service.Install(t, service.Project))
	targettest.Run(t, targettest.Kit{
		New: func(t *testing.T, endpoint string, ca *x509.Certificate) delivery.Deliverer {
			there := *devices
			there.Client = devicetest.NewClientTo(t, endpoint, ca)
			return devicetest.One{Sender: &there, Device: phone}
		},
		Secrets: []string{phone.Token, "ya29"},
	})
}

// What FCM documents, and what it means here.
var documented = []struct {
	status         int
	general, code  string
	field          string
	outcome        delivery.Outcome
	fault          delivery.Fault
	reason         string
	pauses, renews bool
}{
	{400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.token", delivery.Gone, delivery.FaultOfItem, "invalid_token", false, false},
	{400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.data", delivery.Refused, delivery.FaultOfItem, "invalid_argument", false, false},
	{400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "", delivery.Refused, delivery.FaultOfItem, "invalid_argument", false, false},
	{400, "INVALID_ARGUMENT", "", "message.android.ttl", delivery.Refused, delivery.FaultOfItem, "invalid_argument", false, false},
	{404, "NOT_FOUND", "UNREGISTERED", "", delivery.Gone, delivery.FaultOfItem, "unregistered", false, false},
	{404, "NOT_FOUND", "", "", delivery.Misconfigured, delivery.FaultOfService, "project_not_found", false, false},
	{403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", "", delivery.Misconfigured, delivery.FaultOfItem, "sender_id_mismatch", false, false},
	{403, "PERMISSION_DENIED", "", "", delivery.Misconfigured, delivery.FaultOfService, "permission_denied", false, false},
	{401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR", "", delivery.Misconfigured, delivery.FaultOfItem, "third_party_auth_error", false, false},
	{401, "UNAUTHENTICATED", "", "", delivery.Misconfigured, delivery.FaultOfService, "unauthenticated", false, true},
	{429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "", delivery.TryAgain, delivery.FaultOfService, "quota_exceeded", true, false},
	{429, "RESOURCE_EXHAUSTED", "", "", delivery.TryAgain, delivery.FaultOfService, "quota_exceeded", true, false},
	{500, "INTERNAL", "INTERNAL", "", delivery.TryAgain, delivery.FaultUnknown, "internal", false, false},
	{503, "UNAVAILABLE", "UNAVAILABLE", "", delivery.TryAgain, delivery.FaultOfService, "unavailable", false, false},
	{502, "", "UNSPECIFIED_ERROR", "", delivery.TryAgain, delivery.FaultUnknown, "status_502", false, false},
}

func TestDocumentedErrors(t *testing.T) {
	service := pushtest.StartFCM(t)
	devices, _ := newDevices(t, service)
	phone := subscriptionOf(t, service.Install(t, service.Project))
	seen := make(map[string]bool)
	for _, is := range documented {
		seen[is.code], seen[is.general] = true, true
		exchanges := service.Exchanges()
		service.Answer(func(w http.ResponseWriter, _ *http.Request) {
			pushtest.FCMError(w, is.status, is.general, is.code, is.field)
		})
		r := devices.SendMail(t.Context(), phone, devicetest.NewMail())
		assert.Equal(t, is.outcome.String(), r.Outcome.String(), is.code)
		assert.Equal(t, is.fault, r.Fault, is.code)
		assert.Equal(t, is.reason, r.Reason)
		require.Error(t, r.Err)
		assert.NotContains(t, r.Err.Error(), phone.Token)
		assert.Equal(t, is.pauses, r.Pause)
		if is.pauses {
			assert.Equal(t, time.Minute, r.After, "what Google asks for where it says nothing")
		}
		if is.renews {
			assert.Equal(t, exchanges+1, service.Exchanges(), "another access token was tried")
		}
	}
	for code := range reasons {
		assert.True(t, seen[code], "%s is not documented", code)
	}

	// The quota of one device is not that of the project.
	for subject, fault := range map[string]delivery.Fault{"device:1": delivery.FaultOfItem, "project:1": delivery.FaultOfService} {
		service.Answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
			_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"status": "RESOURCE_EXHAUSTED", "details": []any{
				map[string]any{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "QUOTA_EXCEEDED"},
				map[string]any{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []any{map[string]string{"subject": subject}}},
			}}})
		})
		r := devices.SendMail(t.Context(), phone, devicetest.NewMail())
		assert.Equal(t, fault, r.Fault, subject)
		assert.Equal(t, 7*time.Second, r.After)
		assert.Equal(t, fault == delivery.FaultOfService, r.Pause)
	}
}
