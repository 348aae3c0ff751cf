// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

// Result is the result of a request. It is a metric label.
type Result string

const (
	// Accepted: the notification is stored. 200.
	Accepted Result = "accepted"
	// Duplicate: it was stored a moment ago. 200.
	Duplicate Result = "duplicate"
	// UnusedEvent: the event is not used; nothing is stored. 200.
	UnusedEvent Result = "unused_event"

	// BadJSON: the body is not one JSON object. 400.
	BadJSON Result = "bad_json"
	// BadField: a member of the body is missing or invalid. 400.
	BadField Result = "bad_field"
	// BodyCut: the body ended early, or could not be read. 400.
	BodyCut Result = "body_cut"
	// Unauthorized: no credentials or wrong ones (401), or the handler is
	// configured without any authentication (403).
	Unauthorized Result = "unauthorized"
	// NoClientCertificate: the peer has no verified one. 403.
	NoClientCertificate Result = "no_client_certificate"
	// Method: the method is not PUT. 405.
	Method Result = "method"
	// BodyTimeout: the body did not arrive in time. 408.
	BodyTimeout Result = "body_timeout"
	// TooLarge: the body is larger than the limit or than the queue accepts.
	// 413.
	TooLarge Result = "too_large"
	// MediaType: the Content-Type is not application/json. 415.
	MediaType Result = "media_type"
	// Throttled: too many wrong credentials from this address. 429.
	Throttled Result = "throttled"

	// Busy: so many credentials are being checked that these were not. 503.
	Busy Result = "busy"
	// QueueFull: the queue is full. 503.
	QueueFull Result = "queue_full"
	// QueueUnavailable: it could not be stored, or not in time. 503.
	QueueUnavailable Result = "queue_unavailable"
)

// Results lists all results.
var Results = []Result{
	Accepted, Duplicate, UnusedEvent,
	BadJSON, BadField, BodyCut, Unauthorized, NoClientCertificate, Method, BodyTimeout, TooLarge, MediaType, Throttled,
	Busy, QueueFull, QueueUnavailable,
}
