// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// emitter gives events to Caddy's events app, so that other modules can react
// to what happens here.
type emitter struct {
	// ctx is the context of Provision: events need one, and Caddy has no
	// other for what happens outside of requests.
	ctx    caddy.Context
	events *caddyevents.App
}

func newEmitter(ctx caddy.Context) (*emitter, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, err
	}
	return &emitter{ctx: ctx, events: app.(*caddyevents.App)}, nil
}

// EventUser is the name of a user in the data of an event. Placeholders such as
// {event.data.user} and String have the name. JSON has not: Caddy's events app
// writes the data of every event into its log at level DEBUG.
type EventUser string

// String implements fmt.Stringer.
func (u EventUser) String() string { return string(u) }

// MarshalJSON implements json.Marshaler. It leaves the name out.
func (u EventUser) MarshalJSON() ([]byte, error) {
	if u == "" {
		return []byte(`""`), nil
	}
	return []byte(`"REDACTED"`), nil
}

// emit notifies the subscribers of the event dovecot_push.<name>. data is only
// called if somebody has; it must hold nothing of a mail. Handlers run in the
// calling goroutine, so this is never called while Dovecot waits.
func (e *emitter) emit(name string, data func() map[string]any) {
	name = "dovecot_push." + name
	if e.events.ShouldEmit(name) {
		e.events.Emit(e.ctx, name, data())
	}
}
