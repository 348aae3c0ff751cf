// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

// Kind is what a device is, and so what delivers to it: a word of lower-case
// letters.
type Kind string

const (
	// WebPush is the kind of browsers and apps that speak Web Push (RFC 8030). It
	// is the one of devices for which nothing else is said.
	WebPush Kind = "webpush"
	// APNs is the kind of apps on Apple's devices.
	APNs Kind = "apns"
	// FCM is the kind of apps that use Firebase Cloud Messaging.
	FCM Kind = "fcm"
)

// Name is that of the target that delivers to it.
func (k Kind) Name() string {
	if k.IsZero() {
		return string(WebPush)
	}
	return string(k)
}

// IsZero leaves the kind out of what is stored.
func (k Kind) IsZero() bool { return k == "" || k == WebPush }

// Is reports whether s is of the kind.
func (s *Subscription) Is(kind Kind) bool {
	return s.Kind.Name() == kind.Name()
}
