// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// Lifecycle is a [Module] that does something beside its attempts.
type Lifecycle interface {
	// Start is called when the app starts, before the first attempt. An error
	// keeps the configuration from being loaded.
	Start(App) error
	// Stop is called after the last attempt, if Start was.
	Stop()
}

// App is what the app does for its targets, from their Start to their Stop.
type App interface {
	// SetSubscribed tells that somebody wants the mails of a user, by the
	// canonical name, or that nobody does any more, so that the user is
	// registered in Dovecot where the option register is on_subscribe.
	SetSubscribed(ctx context.Context, user string, subscribed bool) error
}

// Subscribed is a [Module] for which users are registered in Dovecot where the
// option register is on_subscribe. Changes are for [App.SetSubscribed].
type Subscribed interface {
	// Subscribers are the users whose mails somebody wants.
	Subscribers(ctx context.Context) ([]string, error)
	// Subscribes reports whether a user is one of them. Where that is not
	// known, the user is: a registration in vain costs little.
	Subscribes(user string) bool
}

// Metered is a [Module] with metrics of its own.
type Metered interface {
	// Metrics become part of Caddy's. They should outlive a configuration, and be
	// the same for all targets of the kind.
	Metrics() []prometheus.Collector
}

// ContactHolder is a [Module] whose messages say whom to write to about problems.
type ContactHolder interface {
	// CheckContact returns the contact, and why receivers would refuse it.
	CheckContact() (contact string, err error)
}

// UserChecker is a [Module] whose receiver takes notifications for users that it does
// not know, and drops them.
type UserChecker interface {
	// UnknownUsers is how many were, since the process started.
	UnknownUsers() uint64
}
