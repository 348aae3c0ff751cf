// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
)

// Outcome is the outcome of one attempt.
type Outcome uint8

// The outcomes, and what the engine does about them.
const (
	// TryAgain: a temporary failure. The notification is parked for a later
	// attempt. Unknown failures belong here, so it is the zero value.
	TryAgain Outcome = iota
	// Delivered: done.
	Delivered
	// Refused: this notification will never be accepted. It becomes a dead
	// letter.
	Refused
	// Misconfigured: nothing will be accepted until an operator changes
	// something. The target is paused and this is logged. Nothing is lost.
	Misconfigured
	// Gone: the destination no longer exists, such as a device that
	// unsubscribed. There is nothing left to do for it, and the target must not
	// return it again. For destinations within a target only (see
	// [Target.Destinations]).
	Gone
)

// String is the word for logs and metrics.
func (o Outcome) String() string {
	switch o {
	case Delivered:
		return "delivered"
	case Refused:
		return "refused"
	case Misconfigured:
		return "misconfigured"
	case Gone:
		return "gone"
	default:
		return "try_again"
	}
}

// Fault is what caused an attempt to fail. It decides who else must wait: a
// fault of one item must not pause what the item shares with others.
type Fault uint8

// The faults.
const (
	// FaultUnknown: the cause is unknown, as with a 500 response. What the item
	// shares with others counts as down when several different items fail in a
	// row and none works in between. It is the zero value.
	FaultUnknown Fault = iota
	// FaultOfItem: the destination or the notification alone is to blame, such
	// as a device that needs another key. There was an answer, so everything
	// that is shared works.
	FaultOfItem
	// FaultOfService: what all items share is to blame, such as a server that
	// refuses connections.
	FaultOfService
	// FaultOfOurs: no request was made, such as when a key could not be read.
	// It says nothing about the other side.
	FaultOfOurs
)

// ErrRefused is the error of [Target.Destinations] if the destinations of a
// notification can never be determined. The notification becomes a dead letter.
var ErrRefused = errors.New("the notification will never be accepted")

// Result is the result of one attempt.
type Result struct {
	Outcome Outcome
	// Reason is one of a bounded set of words, such as "timeout" or
	// "status_503". It is a metric label.
	Reason string
	// Fault is what caused a failure. It is ignored after Delivered, Refused
	// and Gone, which are answers about one item.
	Fault Fault
	// After is how long the receiver asked to wait, or 0.
	After time.Duration
	// Pause makes everything that shares the service wait for After, without
	// probes. It is for a service that counts what it is sent, and is ignored
	// unless Fault is [FaultOfService].
	Pause bool
	// Err is the error for the operator. It must hold nothing of the
	// notification and no credentials. It is nil after Delivered.
	Err error
}

// answered reports whether there was an answer about one item: everything that
// it shares with others works.
func (r Result) answered() bool {
	return r.Outcome == Delivered || r.Outcome == Refused || r.Outcome == Gone || r.Fault == FaultOfItem
}

// ResultOfStatus maps the status codes of HTTP receivers. A code that is not
// listed below is a temporary failure:
//
//	2xx                 delivered
//	401 403 407         misconfigured: the receiver does not accept us
//	404 405             misconfigured: nothing answers at this path (yet:
//	                    an application server that is starting says so, too)
//	408 425 429         try again
//	other 4xx           refused
//	1xx 3xx             misconfigured: redirects are not followed
//	5xx                 try again
//
// Only 503 is known to be a fault of the service. Any other code may be an
// answer to one notification, such as that of a filter in front of the
// receiver.
func ResultOfStatus(status int, header http.Header, now time.Time) Result {
	r := Result{Reason: "status_" + strconv.Itoa(status)}
	switch {
	case status < 100 || status > 599:
		r.Reason = "status_invalid"
	case status >= 200 && status < 300:
		r.Outcome, r.Reason = Delivered, ""
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests,
		status >= 500:
		r.After = retryAfter(header.Get("Retry-After"), now)
		if status == http.StatusServiceUnavailable {
			r.Fault = FaultOfService
		}
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusProxyAuthRequired,
		status == http.StatusNotFound, status == http.StatusMethodNotAllowed,
		status < 400:
		r.Outcome = Misconfigured
	default:
		r.Outcome = Refused
	}
	return r
}

// ResultOfFailure is the result of a request that got no answer. err must not be
// nil; see [outbound.Failure].
func ResultOfFailure(err error) Result {
	r := Result{}
	r.Reason, r.Err = outbound.Failure(err)
	switch r.Reason {
	case "dns", "connect", "tls":
		r.Fault = FaultOfService
	case "interrupted":
		r.Fault = FaultOfOurs
	default: // one notification may make a receiver hang or abort
	}
	return r
}

// retryAfter parses both forms of the field (RFC 9110, section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
