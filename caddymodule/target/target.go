// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package target is what a target is: the contract between the app dovecot_push and
// the modules in the namespace dovecot_push.targets, which are the same for those of
// this repository and for those of others. The folders below it have ours.
//
// A module is a [Module]. What else it can do it says by implementing [Prober],
// [Lifecycle], [Subscribed], [DeviceModule], [KeyHolder], [ContactHolder], [UserChecker] or
// [Metered]. The app knows nothing else of a target.
package target

import (
	"context"
	"net/http"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Namespace is where the modules are found. One that implements
// caddyfile.Unmarshaler can be used in a Caddyfile, as deliver <kind>; the first
// token that it gets is its kind.
const Namespace = "dovecot_push.targets"

// Module is what a Caddy module in the namespace provides.
type Module interface {
	// Target is the name of the target, what makes the attempts, and how it is
	// served. It is called after the module is provisioned, and again when it has
	// started.
	Target() Target
}

// Prober is a [Module] that can be asked how it is without a notification, for the
// doctor. Others are judged by their last attempt.
type Prober interface {
	// Probe asks the receiver something that has no effect there, and returns
	// what that was, without secrets, and the result.
	Probe(ctx context.Context) (asked string, result Result)
}

type (
	// Target is the name of a target, its [Deliverer], and how it is served.
	Target = delivery.Target
	// Deliverer makes one attempt to deliver a notification.
	Deliverer = delivery.Deliverer
	// Destination is one of several places that a target delivers a notification
	// to; see the field Destinations of [Target].
	Destination = delivery.Destination
	// Record is one accepted notification: an identity, which is the same in
	// each attempt, the time, and the JSON that Dovecot sent.
	Record = queue.Record
	// Result is what an attempt ended with.
	Result = delivery.Result
	// Outcome is the word for it.
	Outcome = delivery.Outcome
	// Fault is what caused an attempt to fail. It decides who else has to wait.
	Fault = delivery.Fault
)

// The outcomes of an attempt.
const (
	// TryAgain is a failure that may pass.
	TryAgain = delivery.TryAgain
	// Delivered is a success.
	Delivered = delivery.Delivered
	// Refused makes a dead letter of the notification.
	Refused = delivery.Refused
	// Misconfigured pauses the target, or the destination, and throws nothing away.
	Misconfigured = delivery.Misconfigured
	// Gone is for a destination that does not exist any more.
	Gone = delivery.Gone
)

// ErrRefused is what Destinations returns for a notification that will never have
// any.
var ErrRefused = delivery.ErrRefused

// The faults.
const (
	// FaultUnknown is nobody's for sure.
	FaultUnknown = delivery.FaultUnknown
	// FaultOfItem is of this destination or notification alone.
	FaultOfItem = delivery.FaultOfItem
	// FaultOfService is of what all of them share.
	FaultOfService = delivery.FaultOfService
	// FaultOfOurs is of this server: no request was made.
	FaultOfOurs = delivery.FaultOfOurs
)

// ResultOfStatus is what the status code of an HTTP answer means: 2xx is delivered, 401,
// 403, 404 and others say that the receiver or its address is wrong, 408, 425, 429 and
// 5xx are for another attempt, and other 4xx refuse the notification.
func ResultOfStatus(status int, header http.Header, now time.Time) Result {
	return delivery.ResultOfStatus(status, header, now)
}

// ResultOfFailure is what it means that there was no answer. err is not nil.
func ResultOfFailure(err error) Result { return delivery.ResultOfFailure(err) }
