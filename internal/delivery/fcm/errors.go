// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package fcm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
)

// failure is the body of an answer that is an error, as Google's APIs have it.
type failure struct {
	Error struct {
		Status  string
		Details []struct {
			ErrorCode       string // of FcmError
			FieldViolations []struct {
				Field string
			} // of BadRequest
			Violations []struct {
				Subject, Description string
			} // of QuotaFailure
		}
	}
}

// code is that of FCM or, where it has none, that of Google's APIs in general.
func (f *failure) code() string {
	for _, d := range f.Error.Details {
		if d.ErrorCode != "" {
			return d.ErrorCode
		}
	}
	return f.Error.Status
}

// field reports whether the token of the device alone is what is wrong with a
// request.
func (f *failure) ofToken() bool {
	var fields []string
	for _, d := range f.Error.Details {
		for _, v := range d.FieldViolations {
			fields = append(fields, v.Field)
		}
	}
	return len(fields) > 0 && !slices.ContainsFunc(fields, func(field string) bool { return field != "message.token" })
}

// ofDevice reports whether the quota of one device is used up, and not that of the
// project.
func (f *failure) ofDevice() bool {
	for _, d := range f.Error.Details {
		for _, v := range d.Violations {
			if strings.Contains(strings.ToLower(v.Subject+" "+v.Description), "device") {
				return true
			}
		}
	}
	return false
}

// reason is what FCM means by a code.
type reason struct {
	word    string // the label of metrics
	says    string // to an operator
	outcome delivery.Outcome
	fault   delivery.Fault
}

const (
	reasonUnauthenticated = "unauthenticated"
	// quotaPause is how long FCM wants to be left alone if it says no time.
	quotaPause = time.Minute
)

// reasons are those of
// https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode and, in the last
// lines, of Google's APIs in general, as of 2026-11-30. Others mean what their
// status means.
var reasons = map[string]reason{
	"UNREGISTERED": {"unregistered", "the app was removed from the device", delivery.Gone, delivery.FaultOfItem},
	"SENDER_ID_MISMATCH": {
		"sender_id_mismatch", "the token is of another Firebase project than that of service_account: the app and this server must use the same",
		delivery.Misconfigured, delivery.FaultOfItem,
	},
	"THIRD_PARTY_AUTH_ERROR": {
		"third_party_auth_error", "the project has no valid key for Apple's or the browsers' push service, which this device needs",
		delivery.Misconfigured, delivery.FaultOfItem,
	},
	"INVALID_ARGUMENT": {"invalid_argument", "it does not take the message", delivery.Refused, delivery.FaultOfItem},
	"QUOTA_EXCEEDED":   {"quota_exceeded", "too many messages are sent", delivery.TryAgain, delivery.FaultOfService},
	"UNAVAILABLE":      {"unavailable", "it is overloaded", delivery.TryAgain, delivery.FaultOfService},
	"INTERNAL":         {"internal", "it failed", delivery.TryAgain, delivery.FaultUnknown},

	"RESOURCE_EXHAUSTED": {"quota_exceeded", "too many messages are sent", delivery.TryAgain, delivery.FaultOfService},
	"UNAUTHENTICATED":    {reasonUnauthenticated, "it does not take the access token", delivery.Misconfigured, delivery.FaultOfService},
	"PERMISSION_DENIED": {
		"permission_denied", "the service account may not send: the FCM API (V1) of the project is off, or the account lacks a role",
		delivery.Misconfigured, delivery.FaultOfService,
	},
	"NOT_FOUND": {"project_not_found", "there is no such project", delivery.Misconfigured, delivery.FaultOfService},
}

// resultOf returns the meaning of an answer. said is the beginning of its body.
func resultOf(resp *http.Response, said []byte, general delivery.Result) delivery.Result {
	if general.Outcome == delivery.Delivered {
		return general
	}
	var body failure
	_ = json.Unmarshal(said, &body)
	is, known := reasons[body.code()]
	if !known {
		general.Err = fmt.Errorf("FCM answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
		if resp.StatusCode == http.StatusTooManyRequests {
			general.Fault, general.Pause = delivery.FaultOfService, true
		}
		return general
	}
	r := delivery.Result{
		Outcome: is.outcome, Fault: is.fault, Reason: is.word, After: general.After,
		Err: fmt.Errorf("FCM answers %d %s: %s", resp.StatusCode, body.code(), is.says),
	}
	switch {
	case is.word == "quota_exceeded" && body.ofDevice():
		r.Reason, r.Fault = "device_quota_exceeded", delivery.FaultOfItem
	case is.word == "quota_exceeded":
		if r.Pause = true; r.After == 0 {
			r.After = quotaPause
		}
	case is.word == "invalid_argument" && body.ofToken():
		r.Outcome, r.Reason = delivery.Gone, "invalid_token"
		r.Err = fmt.Errorf("FCM answers %d %s: the token of the device is none", resp.StatusCode, body.code())
	}
	return r
}
