// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package events delivers to the event streams of the users: it puts
// notifications into the event log, in the JSON that streams send.
package events

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/eventlog"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// Name of the target, unless another one has it.
	Name = "events"
	// Workers is how many notifications go into one write to the log, if there
	// are as many.
	Workers = 64
)

// The kinds of events.
const (
	// Mail is a new mail.
	Mail = "mail"
	// Change is everything else that the endpoint takes in.
	Change = "change"
)

// Target puts notifications into a log.
type Target struct {
	Log     *eventlog.Log
	Decoder *notification.Decoder
}

// Deliver makes one attempt. Where nobody has a stream it costs next to
// nothing.
func (t *Target) Deliver(ctx context.Context, rec *queue.Record) delivery.Result {
	if t.Log.Idle() {
		return delivery.Result{Outcome: delivery.Delivered}
	}
	n, err := t.Decoder.Decode(rec.Body)
	if err != nil {
		return delivery.Result{Outcome: delivery.Refused, Reason: "unreadable", Err: err}
	}
	err = t.Log.Offer(ctx, n.User, rec.ID, func() (kind string, data []byte) {
		if kind = Mail; n.Event != notification.MessageNew {
			kind = Change
		}
		data, err := json.Marshal(n.Mail(notification.Sender, rec.ID, rec.Accepted, rec.Source))
		if err != nil { // strings and numbers
			panic(err)
		}
		return kind, data
	})
	if err != nil {
		return delivery.Result{Reason: "store", Fault: delivery.FaultOfService, Err: fmt.Errorf("the event log: %w", err)}
	}
	return delivery.Result{Outcome: delivery.Delivered}
}
