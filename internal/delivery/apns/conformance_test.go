// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package apns

import (
	"crypto/x509"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device/devicetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/targettest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// The receivers of these tests speak HTTP/1.1, mostly badly.
func TestConformance(t *testing.T) {
	service := pushtest.StartAPNs(t, topic)
	devices, _ := newDevices(t, service)
	phone := subscriptionOf(t, service.Install(t, topic, ""))
	targettest.Run(t, targettest.Kit{
		New: func(t *testing.T, endpoint string, ca *x509.Certificate) delivery.Deliverer {
			there := *devices
			there.Client = devicetest.NewClientTo(t, endpoint, ca)
			return devicetest.One{Sender: &there, Device: phone}
		},
		Outcomes: map[int]delivery.Outcome{410: delivery.Gone},
		Secrets:  []string{phone.Token},
	})
}

// What APNs documents, and what it means here.
var documented = []struct {
	status  int
	reason  string
	outcome delivery.Outcome
	fault   delivery.Fault
}{
	{400, "BadCollapseId", delivery.Refused, delivery.FaultUnknown},
	{400, "BadDeviceToken", delivery.Gone, delivery.FaultOfItem},
	{400, "BadExpirationDate", delivery.Refused, delivery.FaultUnknown},
	{400, "BadMessageId", delivery.Refused, delivery.FaultUnknown},
	{400, "BadPriority", delivery.Refused, delivery.FaultUnknown},
	{400, "BadTopic", delivery.Misconfigured, delivery.FaultOfService},
	{400, "DeviceTokenNotForTopic", delivery.Misconfigured, delivery.FaultOfItem},
	{400, "DuplicateHeaders", delivery.Refused, delivery.FaultUnknown},
	{400, "IdleTimeout", delivery.TryAgain, delivery.FaultUnknown},
	{400, "InvalidPushType", delivery.Refused, delivery.FaultUnknown},
	{400, "MissingDeviceToken", delivery.Refused, delivery.FaultUnknown},
	{400, "MissingTopic", delivery.Misconfigured, delivery.FaultOfService},
	{400, "PayloadEmpty", delivery.Refused, delivery.FaultUnknown},
	{400, "TopicDisallowed", delivery.Misconfigured, delivery.FaultOfService},
	{403, "BadCertificate", delivery.Misconfigured, delivery.FaultOfService},
	{403, "BadCertificateEnvironment", delivery.Misconfigured, delivery.FaultOfService},
	{403, "BadEnvironmentKeyIdInToken", delivery.Misconfigured, delivery.FaultOfService},
	{403, "ExpiredProviderToken", delivery.Misconfigured, delivery.FaultOfService},
	{403, "Forbidden", delivery.Misconfigured, delivery.FaultOfService},
	{403, "InvalidProviderToken", delivery.Misconfigured, delivery.FaultOfService},
	{403, "MissingProviderToken", delivery.Misconfigured, delivery.FaultOfService},
	{403, "UnrelatedKeyIdInToken", delivery.TryAgain, delivery.FaultUnknown},
	{404, "BadPath", delivery.Misconfigured, delivery.FaultUnknown},
	{405, "MethodNotAllowed", delivery.Misconfigured, delivery.FaultUnknown},
	{410, "ExpiredToken", delivery.Gone, delivery.FaultOfItem},
	{410, "Unregistered", delivery.Gone, delivery.FaultOfItem},
	{413, "PayloadTooLarge", delivery.Refused, delivery.FaultUnknown},
	{429, "TooManyProviderTokenUpdates", delivery.TryAgain, delivery.FaultOfService},
	{429, "TooManyRequests", delivery.TryAgain, delivery.FaultOfItem},
	{500, "InternalServerError", delivery.TryAgain, delivery.FaultUnknown},
	{503, "ServiceUnavailable", delivery.TryAgain, delivery.FaultOfService},
	{503, "Shutdown", delivery.TryAgain, delivery.FaultUnknown},
}

func TestDocumentedReasons(t *testing.T) {
	service := pushtest.StartAPNs(t, topic)
	devices, _ := newDevices(t, service)
	phone := subscriptionOf(t, service.Install(t, topic, ""))
	seen := make(map[string]bool)
	for _, is := range documented {
		seen[is.reason] = true
		service.Answer(func(w http.ResponseWriter, _ *http.Request) { pushtest.APNsReason(w, is.status, is.reason) })
		r := devices.SendMail(t.Context(), phone, devicetest.NewMail())
		assert.Equal(t, is.outcome.String(), r.Outcome.String(), is.reason)
		assert.Equal(t, is.fault, r.Fault, is.reason)
		assert.Regexp(t, `^[a-z][a-z_]{1,30}$|^status_\d{3}$`, r.Reason, is.reason)
		assert.Error(t, r.Err)
		assert.NotContains(t, r.Err.Error(), phone.Token)
		assert.Equal(t, is.reason == "TooManyProviderTokenUpdates", r.Pause)
		if r.Pause {
			assert.Greater(t, r.After, 19*tokenPause/20)
		}
	}
	for reason := range reasons {
		assert.True(t, seen[reason], "%s is not documented", reason)
	}
}
