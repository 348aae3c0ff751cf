// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import "net/http"

// Verdict is the decision of a Guard about a request. The zero value refuses
// it.
type Verdict uint8

const (
	// Forbidden: the peer is not allowed, or has no address.
	Forbidden Verdict = iota

	// Allowed: the request may proceed.
	Allowed

	// TooEarly: the request came before the TLS handshake was complete. It may
	// be a replay, and over QUIC its address may be a lie. A client sends it
	// again after the handshake (RFC 8470 section 5.2).
	TooEarly
)

// String returns a word for logs and metric labels: "forbidden", "allowed" or
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

// Status returns the HTTP status to refuse the request with: 403 or 425. It is
// 0 for Allowed.
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
