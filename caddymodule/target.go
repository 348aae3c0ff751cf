// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// targetNamespace is where modules are found that notifications are delivered
// to.
const targetNamespace = "dovecot_push.targets"

// Target is what a module in the namespace dovecot_push.targets provides. To be
// found in a Caddyfile, as deliver <kind>, it implements caddyfile.Unmarshaler
// as well; the first token it gets is its kind.
type Target interface {
	// Lane is the name of the target and what delivers to it.
	Lane() Lane
}

// Prober is a Target that can be asked how it is without a notification, for the
// doctor. Others are judged by their last attempt.
type Prober interface {
	// Probe asks the receiver something that has no effect there, and returns
	// what that was, without secrets, and the result.
	Probe(ctx context.Context) (asked string, result Result)
}

type (
	// Lane is one target, and how it is served.
	Lane = delivery.Target
	// Deliverer makes attempts: the Target of a Lane.
	Deliverer = delivery.Deliverer
	// Record is one accepted notification: an identity, which is the same in
	// each attempt, the time, and the JSON that Dovecot sent.
	Record = queue.Record
	// Result is what an attempt ended with.
	Result = delivery.Result
	// Outcome is the word for it.
	Outcome = delivery.Outcome
)

// The outcomes of an attempt.
const (
	TryAgain      = delivery.TryAgain
	Delivered     = delivery.Delivered
	Refused       = delivery.Refused
	Misconfigured = delivery.Misconfigured
)

// Fault is what caused an attempt to fail.
type Fault = delivery.Fault

// The faults.
const (
	FaultUnknown   = delivery.FaultUnknown
	FaultOfItem    = delivery.FaultOfItem
	FaultOfService = delivery.FaultOfService
	FaultOfOurs    = delivery.FaultOfOurs
)
