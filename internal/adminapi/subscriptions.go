// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package adminapi

import "time"

// Subscriptions is what GET /dovecot_push/subscriptions answers: the devices of
// one user.
type Subscriptions struct {
	User          string         `json:"user"`
	Subscriptions []Subscription `json:"subscriptions"`
}

// Subscription is one device. Its endpoint, its token and its keys are never shown: anyone
// who has them can send to it.
type Subscription struct {
	ID string `json:"id"`
	// What its user calls it.
	Name string `json:"name"`
	// What delivers to it: webpush, apns, fcm or another target.
	Kind string `json:"kind"`
	// The host of its push service; empty for devices that have a token.
	PushService string `json:"push_service"`
	// The app that its token is of: the topic of APNs, the project of FCM.
	App string `json:"app,omitempty"`
	// sandbox, for an app of APNs that is being developed.
	Environment string `json:"environment,omitempty"`
	// Whether it has proved that it is there. Mail is only sent to one that has.
	Confirmed bool      `json:"confirmed"`
	Created   time.Time `json:"created"`
	// When it ends, unless it is used before.
	Expires time.Time `json:"expires"`
	// What its user prefers: content, urgency, folders, senders, quiet_hours and
	// muted.
	Preferences []string `json:"preferences,omitempty"`
	// The last message that was sent to it, tests included.
	LastDelivery *LastDelivery `json:"last_delivery,omitempty"`
}

// LastDelivery is the result of a message.
type LastDelivery struct {
	Time time.Time `json:"time"`
	// delivered, try_again, refused or misconfigured.
	Outcome string `json:"outcome"`
}
