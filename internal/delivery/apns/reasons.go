// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package apns

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// reason is what APNs means by a reason.
type reason struct {
	word string // the label of metrics
	says string // to an operator
	delivery.Outcome
	delivery.Fault
	pause bool
}

const (
	reasonExpired = "expired_provider_token"
	reasonTooLong = "status_413"
)

// reasons are those of
// https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
// as of 2026-11-30. Others, and the errors of this package that some of them would
// be, mean what their status means.
var reasons = map[string]reason{
	"BadDeviceToken":  {"bad_device_token", "the token is none of this environment", delivery.Gone, delivery.FaultOfItem, false},
	"Unregistered":    {"unregistered", "the app was removed from the device", delivery.Gone, delivery.FaultOfItem, false},
	"ExpiredToken":    {"expired_token", "the token of the device has expired", delivery.Gone, delivery.FaultOfItem, false},
	"TooManyRequests": {"too_many_requests", "too many messages are for this device", delivery.TryAgain, delivery.FaultOfItem, false},
	"DeviceTokenNotForTopic": {
		"device_token_not_for_topic", "the token is of another app than the device said", delivery.Misconfigured, delivery.FaultOfItem, false,
	},

	"TooManyProviderTokenUpdates": {
		"too_many_provider_token_updates", "provider tokens change too often: is the key in use elsewhere?", delivery.TryAgain, delivery.FaultOfService, true,
	},
	"ExpiredProviderToken": {
		reasonExpired, "the provider token has expired: is the clock of this machine right?", delivery.Misconfigured, delivery.FaultOfService, false,
	},
	"InvalidProviderToken": {
		"invalid_provider_token", "key, key_id and team_id do not belong together, the key was revoked, or the clock of this machine is wrong",
		delivery.Misconfigured, delivery.FaultOfService, false,
	},
	"MissingProviderToken":  {"missing_provider_token", "the provider token did not arrive", delivery.Misconfigured, delivery.FaultOfService, false},
	"UnrelatedKeyIdInToken": {"unrelated_key_id", "another key was used before on this connection", delivery.TryAgain, delivery.FaultUnknown, false},
	"BadEnvironmentKeyIdInToken": {
		"bad_environment_key_id", "the key is for the other environment: production or sandbox", delivery.Misconfigured, delivery.FaultOfService, false,
	},
	"BadCertificateEnvironment": {"bad_certificate_environment", "the certificate is for the other environment", delivery.Misconfigured, delivery.FaultOfService, false},
	"BadCertificate":            {"bad_certificate", "the certificate is invalid", delivery.Misconfigured, delivery.FaultOfService, false},
	"Forbidden":                 {"forbidden", "it is not allowed", delivery.Misconfigured, delivery.FaultOfService, false},
	"TopicDisallowed":           {"topic_disallowed", "the key may not send to this topic", delivery.Misconfigured, delivery.FaultOfService, false},
	"BadTopic":                  {"bad_topic", "the topic is none: topics are bundle identifiers", delivery.Misconfigured, delivery.FaultOfService, false},
	"MissingTopic":              {"missing_topic", "the topic is missing", delivery.Misconfigured, delivery.FaultOfService, false},

	"IdleTimeout":         {"idle_timeout", "the connection was idle", delivery.TryAgain, delivery.FaultUnknown, false},
	"InternalServerError": {"internal_server_error", "it failed", delivery.TryAgain, delivery.FaultUnknown, false},
	"ServiceUnavailable":  {"service_unavailable", "it is not available", delivery.TryAgain, delivery.FaultOfService, false},
	"Shutdown":            {"shutdown", "the server shuts down", delivery.TryAgain, delivery.FaultUnknown, false},
}

// resultOf returns the meaning of an answer. said is the beginning of its body.
func resultOf(d *subscription.Subscription, resp *http.Response, said []byte, general delivery.Result) delivery.Result {
	if general.Outcome == delivery.Delivered {
		return general
	}
	var body struct {
		Reason    string
		Timestamp int64 // in milliseconds: since when a token is invalid
	}
	_ = json.Unmarshal(said, &body)
	is, known := reasons[body.Reason]
	if !known {
		if general.Err = fmt.Errorf("APNs answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)); resp.StatusCode == http.StatusGone {
			general.Outcome = delivery.Gone
		}
		return general
	}
	r := delivery.Result{
		Outcome: is.Outcome, Fault: is.Fault, Reason: is.word, After: general.After, Pause: is.pause,
		Err: fmt.Errorf("APNs answers %d %s: %s", resp.StatusCode, body.Reason, is.says),
	}
	if r.Outcome == delivery.Gone && body.Timestamp > 0 && body.Timestamp < d.ConfirmedAt.UnixMilli() {
		r.Outcome = delivery.TryAgain // it has got its token again since then
	}
	return r
}
