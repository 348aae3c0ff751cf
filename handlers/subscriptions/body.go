// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscriptions

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// maxBody bounds a request body, in bytes. A subscription has some 500.
const maxBody = 16 << 10

// addressBody is the W3C's PushSubscriptionJSON, or the token of an app.
type addressBody struct {
	Endpoint    string            `json:"endpoint"`
	Token       string            `json:"token"`
	App         string            `json:"app"`
	Environment string            `json:"environment"`
	Keys        subscription.Keys `json:"keys"`
	// Page and Lang are of the page that subscribes a browser.
	Page string `json:"page"`
	Lang string `json:"lang"`
	// ExpirationTime is in milliseconds since 1970, or null.
	ExpirationTime *float64 `json:"expirationTime"`
}

// addition is the body of POST /subscriptions.
type addition struct {
	// Kind of the device; Web Push if it says none.
	Kind           subscription.Kind `json:"kind"`
	Name           string            `json:"name"`
	DeviceClientID string            `json:"deviceClientId"`
	Preferences    json.RawMessage   `json:"preferences"`
	addressBody
}

// patch is the body of PATCH /subscriptions/{id}.
type patch struct {
	Name             *string `json:"name"`
	VerificationCode *string `json:"verificationCode"`
	// Preferences are those that change.
	Preferences json.RawMessage `json:"preferences"`
	addressBody
}

// pushServiceExpiry is when the push service will end the subscription, or
// zero.
func (b *addressBody) pushServiceExpiry(now time.Time) (time.Time, error) {
	if b.ExpirationTime == nil {
		return time.Time{}, nil
	}
	at := time.UnixMilli(int64(min(*b.ExpirationTime, math.MaxInt32*1000))).UTC().Truncate(time.Second)
	if !at.After(now) {
		return at, &subscription.FieldError{Field: "expirationTime", Problem: "is in the past"}
	}
	return at, nil
}

// read reads a JSON body. Unknown members are ignored: browsers may send more
// one day. Those of preferences are refused, which no browser makes.
func read(w http.ResponseWriter, r *http.Request, body any) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return errMediaType
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return errTooLarge
		}
		return badRequest("", "The request broke off.")
	}
	if err := json.Unmarshal(text, body); err != nil {
		if field, ok := errors.AsType[*subscription.FieldError](err); ok {
			return field
		}
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			field := strings.TrimPrefix(wrong.Field, "addressBody.") // encoding/json names what is embedded
			return badRequest(field, fmt.Sprintf("The member %s has the wrong type.", field))
		}
		return badRequest("", "The body is not the JSON that was expected.")
	}
	return nil
}

// view is a subscription as its user sees it. The endpoint and the token are left
// out, because they are secrets.
type view struct {
	ID string `json:"id"`
	// Kind is left out for Web Push.
	Kind           subscription.Kind      `json:"kind,omitzero"`
	Name           string                 `json:"name"`
	DeviceClientID string                 `json:"deviceClientId"`
	EndpointHost   string                 `json:"endpointHost"`
	App            string                 `json:"app,omitempty"`
	Environment    string                 `json:"environment,omitempty"`
	Confirmed      bool                   `json:"confirmed"`
	Created        time.Time              `json:"created"`
	Expires        time.Time              `json:"expires"`
	LastDelivery   *subscription.Delivery `json:"lastDelivery"`
	// Preferences have the members that are not the default.
	Preferences subscription.Preferences `json:"preferences"`
	// MaxContent is how much of a mail the operator allows it; empty if nothing
	// delivers to its kind.
	MaxContent notification.Content `json:"maxContent,omitempty"`
}

func (h *Handler) view(d *subscription.Subscription) view {
	v := view{
		ID: d.ID, Kind: d.Kind, Name: d.Name, DeviceClientID: d.DeviceClientID, EndpointHost: d.Host(), App: d.App, Environment: d.Environment,
		Confirmed: d.Confirmed(), Created: d.Created, Expires: d.Expires, LastDelivery: d.Last,
		Preferences: d.Preferences,
	}
	if sender := h.sender(d.Kind); sender != nil {
		v.MaxContent = sender.Content()
	}
	return v
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}
