// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import "net/http"

// Verdict is what a Guard says about a request. The zero value refuses it.
type Verdict uint8

const (
	// Forbidden: the peer is not among those that are let in, or has no address.
	Forbidden Verdict = iota

	// Allowed: the request may go on.
	Allowed

	// TooEarly: the request came before the TLS handshake was complete. It may
	// be a replay, and over QUIC its address may be a lie. A client sends it
	// again after the handshake (RFC 8470 section 5.2).
	TooEarly
)

// String is a word for a log line or a metric label: "forbidden", "allowed" or
// "too_early".
func (v Verdict) String() string {
	switch v {
	case Allowed:
		return "allowed"
	case TooEarly:
		return "too_early"
	default:
		return "forbidden"
	}
}

// Status is the HTTP status to refuse the request with: 403 or 425. It is 0
// for Allowed: the answer is up to the next handler.
func (v Verdict) Status() int {
	switch v {
	case Allowed:
		return 0
	case TooEarly:
		return http.StatusTooEarly
	default:
		return http.StatusForbidden
	}
}
