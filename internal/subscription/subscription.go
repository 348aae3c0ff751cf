// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package subscription stores the devices of users, of every kind: one
// [Subscription] for each browser or app of each user, in a table of the
// queue's store. They survive restarts and are shared by all instances that
// share the store.
//
// A [Store] answers from memory, and sees changes of other instances within
// moments.
//
// A subscription starts unconfirmed: a code is sent to its address, and
// nothing else until that code comes back. A mistyped or hostile address
// therefore never receives anything about a mail (as in RFC 8620, section
// 7.2.2). Unconfirmed subscriptions expire after [UnconfirmedLifetime],
// confirmed ones when nothing was delivered to them for [Lifetime].
package subscription

import (
	"crypto/ecdh"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dovecotpush/caddy-dovecot-push/internal/printable"
)

const (
	// UnconfirmedLifetime is how long a new subscription waits for its code.
	UnconfirmedLifetime = time.Hour
	// Lifetime is how long a confirmed subscription lasts after it was made or
	// used, unless the push service ends it earlier.
	Lifetime = 60 * 24 * time.Hour
	// MaxPerUser is how many devices a user may have.
	MaxPerUser = 20
)

// Bounds of client input.
const (
	MaxName           = 100 // characters
	MaxDeviceClientID = 255 // bytes, RFC 8620, section 1.2
	MaxEndpoint       = 2048
	MaxToken          = 2048 // bytes
	MaxApp            = 155  // bytes, as Apple's bundle identifiers
	MaxPage           = 256  // bytes
	MaxLang           = 35   // bytes
	authSize          = 16
)

// Subscription is one device or browser of one user. The members have the
// names of JMAP's PushSubscription (RFC 8620, section 7.2) where that has
// them.
type Subscription struct {
	// ID is unique. 1 to 32 letters and digits.
	ID string `json:"id"`
	// Kind is left out for [WebPush], as before there were others.
	Kind Kind `json:"kind,omitzero"`
	// Name is the name its user gave it.
	Name string `json:"name"`
	// DeviceClientID is how a device recognizes its own subscription. It may be
	// empty.
	DeviceClientID string `json:"deviceClientId,omitempty"`
	// Endpoint is where messages for it go, if that is a URL: for Web Push the
	// push resource (RFC 8030). Anyone who knows it can send to it, so it is a
	// secret.
	Endpoint string `json:"url"`
	// Token is where messages for it go if its service names devices by tokens,
	// as APNs and FCM do. It is a secret, too.
	Token string `json:"token,omitempty"`
	// App is the app on the device that the token belongs to, where the kind has
	// several: the topic of APNs or the project of FCM.
	App string `json:"app,omitempty"`
	// Environment is the one of the service that the token is valid in, where
	// there are several: sandbox is the other one of APNs.
	Environment string `json:"environment,omitempty"`
	// Keys are those that messages are encrypted with, where it has some.
	Keys Keys `json:"keys"`
	// Page is the URL of the page that subscribed it, where it did, and Lang the
	// language that the page spoke: what a notification opens and is written in
	// if no program of the page runs.
	Page string `json:"page,omitempty"`
	Lang string `json:"lang,omitempty"`
	// ServerKey is the public key of this server that it was made with, where
	// the kind has one: the VAPID key of Web Push.
	ServerKey string `json:"applicationServerKey"`
	// VerificationCode is the code that was sent to it and has not come back.
	// It is empty once the subscription is confirmed.
	VerificationCode string `json:"verificationCode,omitempty"`
	// ConfirmedAt is when it was last confirmed, or zero. If there is also a
	// VerificationCode, its address has changed since, and mail waits until the
	// new one is confirmed.
	ConfirmedAt time.Time `json:"confirmed,omitzero"`
	Created     time.Time `json:"created"`
	// Expires is when it expires unless it is used before.
	Expires time.Time `json:"expires"`
	// PushServiceExpiry is when the push service will end it, or zero.
	PushServiceExpiry time.Time `json:"ends,omitzero"`
	// Last is the last delivery, or nil.
	Last *Delivery `json:"lastDelivery,omitempty"`
	// Preferences are of what it is notified.
	Preferences Preferences `json:"preferences,omitzero"`
	// Held is what it was not notified of while it was quiet or muted, or nil.
	Held *Held `json:"held,omitempty"`
}

// Delivery is the result of a message to a device.
type Delivery struct {
	Time    time.Time `json:"time"`
	Outcome string    `json:"outcome"`
}

// Confirmed reports whether mail may be sent to it.
func (s *Subscription) Confirmed() bool { return s.VerificationCode == "" }

// Wanted reports whether it gets mail, now or once it has confirmed its new
// address.
func (s *Subscription) Wanted() bool { return s.Confirmed() || !s.ConfirmedAt.IsZero() }

// Host is the host of the endpoint, with its port if it has one. Nothing else
// of the endpoint may be shown.
func (s *Subscription) Host() string {
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		return ""
	}
	return u.Host
}

// At reports whether it is at the address of another one, of the same kind.
func (s *Subscription) At(other *Subscription) bool {
	return s.Is(other.Kind) && s.Endpoint == other.Endpoint && s.Token == other.Token
}

// Keys are what messages to a device are encrypted with (RFC 8291).
type Keys struct {
	// P256DH is the device's point of P-256, uncompressed.
	P256DH Base64 `json:"p256dh"`
	// Auth is the authentication secret.
	Auth Base64 `json:"auth"`
}

// IsZero reports whether there are none.
func (k Keys) IsZero() bool { return len(k.P256DH) == 0 && len(k.Auth) == 0 }

// check reports what is wrong with the keys.
func (k *Keys) check() error {
	if _, err := ecdh.P256().NewPublicKey(k.P256DH); err != nil {
		return &FieldError{"keys.p256dh", "must be an uncompressed point of P-256 in base64url"}
	}
	if len(k.Auth) != authSize {
		return &FieldError{"keys.auth", fmt.Sprintf("must be %d bytes in base64url", authSize)}
	}
	return nil
}

// Base64 is written in base64url without padding, as browsers do, and read
// with or without padding and in both alphabets.
type Base64 []byte

// MarshalText implements encoding.TextMarshaler.
func (b Base64) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Base64) UnmarshalText(text []byte) error {
	s := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(string(text), "="))
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return &FieldError{"keys", "must be base64url"}
	}
	*b = raw
	return nil
}

// FieldError names the member of a subscription that is invalid, and the
// reason. It does not hold the value.
type FieldError struct{ Field, Problem string }

// Error implements error.
func (e *FieldError) Error() string { return e.Field + " " + e.Problem }

// check validates the members that clients set. What delivers to the kind has
// decided whether the endpoint is one.
func (s *Subscription) check() error {
	switch n := utf8.RuneCountInString(s.Name); {
	case strings.TrimSpace(s.Name) == "" || n > MaxName:
		return &FieldError{"name", fmt.Sprintf("must be 1 to %d characters", MaxName)}
	case !utf8.ValidString(s.Name) || strings.ContainsFunc(s.Name, printable.Unsafe):
		return &FieldError{"name", "must be plain text, without control or bidirectional formatting characters"}
	case len(s.DeviceClientID) > MaxDeviceClientID || strings.ContainsFunc(s.DeviceClientID, unprintable):
		return &FieldError{"deviceClientId", fmt.Sprintf("must be at most %d printable ASCII characters", MaxDeviceClientID)}
	case s.Endpoint != "" && s.Token != "":
		return &FieldError{"token", "cannot be used together with endpoint"}
	case len(s.Token) > MaxToken || strings.ContainsFunc(s.Token, unprintable):
		return &FieldError{"token", fmt.Sprintf("must be at most %d printable ASCII characters", MaxToken)}
	case s.Token == "" && (s.Endpoint == "" || len(s.Endpoint) > MaxEndpoint):
		return &FieldError{"endpoint", fmt.Sprintf("must be a URL of at most %d bytes", MaxEndpoint)}
	case len(s.App) > MaxApp || strings.ContainsFunc(s.App, unprintable):
		return &FieldError{"app", fmt.Sprintf("must be at most %d printable ASCII characters", MaxApp)}
	case len(s.Environment) > MaxApp || strings.ContainsFunc(s.Environment, unprintable):
		return &FieldError{"environment", fmt.Sprintf("must be at most %d printable ASCII characters", MaxApp)}
	case s.Page != "" && !isPage(s.Page):
		return &FieldError{"page", fmt.Sprintf("must be the https URL of a page, of at most %d bytes, without query and fragment", MaxPage)}
	case len(s.Lang) > MaxLang || strings.ContainsFunc(s.Lang, func(r rune) bool { return r != '-' && !alphanumeric(r) }):
		return &FieldError{"lang", fmt.Sprintf("must be a language tag of at most %d bytes", MaxLang)}
	}
	if s.Kind.IsZero() || !s.Keys.IsZero() {
		return s.Keys.check()
	}
	return nil
}

func unprintable(r rune) bool { return r < ' ' || r > '~' }

func alphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// isPage reports whether a URL is one that a page can have which subscribes a
// browser: only https is safe enough for that, and this machine.
func isPage(s string) bool {
	if len(s) > MaxPage || strings.ContainsFunc(s, unprintable) || strings.ContainsAny(s, `\?# "<>`) {
		return false
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	return u.Scheme == "https" || u.Scheme == "http" && local
}
