// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// Events about registrations, for modules that look after accounts. Their data
// names the user, as an [EventUser].
//
//	dovecot_push.registered           user
//	dovecot_push.unregistered         user
//	dovecot_push.registration_failed  user (empty if it concerns all), state, reason, error
const (
	eventRegistered         = "registered"
	eventUnregistered       = "unregistered"
	eventRegistrationFailed = "registration_failed"
)

// observeRegistration is called with changes and failures by the goroutines
// that meet them.
func (a *App) observeRegistration(e registration.Event) {
	user := func() map[string]any { return map[string]any{"user": EventUser(e.User)} }
	switch e.State {
	case registration.Registered:
		registrationChanges.WithLabelValues("registered").Inc()
		a.events.emit(eventRegistered, user)
		a.catchUpRegistered(e)
	case registration.Unregistered:
		registrationChanges.WithLabelValues("unregistered").Inc()
		a.events.emit(eventUnregistered, user)
	default:
		registrationFailures.WithLabelValues(string(e.Reason)).Inc()
		a.events.emit(eventRegistrationFailed, func() map[string]any {
			data := map[string]any{"user": EventUser(e.User), "state": string(e.State), "reason": string(e.Reason)}
			if e.Err != nil {
				data["error"] = e.Err.Error()
			}
			return data
		})
	}
}
