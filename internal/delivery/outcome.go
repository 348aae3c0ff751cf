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

// Outcome is what one attempt to deliver ended with.
type Outcome uint8

// The outcomes, and what the engine does about them.
const (
	// TryAgain: a passing failure. The notification is parked for a later
	// attempt. Unknown failures belong here, so it is the zero value.
	TryAgain Outcome = iota
	// Delivered: done.
	Delivered
	// Refused: this notification will never be taken. It becomes a dead
	// letter.
	Refused
	// Misconfigured: nothing will be taken until an operator changes
	// something. The target pauses and says so; nothing is thrown away.
	Misconfigured
	// Gone: the destination does not exist any more, such as a device that
	// unsubscribed. There is nothing left to do for it, and the target has
	// seen to it that it is not asked again. For destinations within a target
	// only (see [Lane.Destinations]).
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

// Fault is what caused an attempt to fail. It decides who else has to wait: a
// fault of one item must not pause what the item shares with others.
type Fault uint8

// The faults.
const (
	// FaultUnknown: nobody can tell, as with an answer 500. What the item
	// shares with others counts as down when several different items fail in
	// a row and none works in between. It is the zero value.
	FaultUnknown Fault = iota
	// FaultOfItem: the destination or the notification alone is to blame,
	// such as a device that another key belongs to. There was an answer, so
	// everything that is shared works.
	FaultOfItem
	// FaultOfService: what all items share is to blame, such as a server that
	// refuses connections.
	FaultOfService
	// FaultOfOurs: no request was made, such as when a key could not be read.
	// It says nothing about the other side.
	FaultOfOurs
)

// ErrRefused is what a target that cannot name the destinations of a
// notification, now or ever, says: it becomes a dead letter.
var ErrRefused = errors.New("the notification will never be taken")

// Result is what a target answers for one attempt.
type Result struct {
	Outcome Outcome
	// Reason is one of a bounded set of words, such as "timeout" or
	// "status_503". It is a metric label.
	Reason string
	// Fault is what caused a failure. It means nothing after Delivered,
	// Refused and Gone, which are answers about one item.
	Fault Fault
	// After is how long the receiver asked to wait; 0 if it did not.
	After time.Duration
	// Err tells an operator more. It holds nothing of the notification and
	// no credentials. It is nil after Delivered.
	Err error
}

// answered tells whether there was an answer about one item: everything that it
// shares with others works.
func (r Result) answered() bool {
	return r.Outcome == Delivered || r.Outcome == Refused || r.Outcome == Gone || r.Fault == FaultOfItem
}

// ResultOfStatus sorts the status codes of HTTP receivers. A code that is not
// listed below is a passing failure:
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
// Only 503 tells whose fault it is: any other may be an answer to one
// notification, such as of a filter in front of the receiver.
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
	default: // one notification may make a receiver hang or break off
	}
	return r
}

// retryAfter reads both forms of the field (RFC 9110, section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
