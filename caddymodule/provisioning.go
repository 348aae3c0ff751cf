// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"iter"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// Provisioning is what the app offers to other Caddy modules, such as one that
// makes accounts. They get it while they are provisioned, and may use it as soon
// as the app has started:
//
//	app, err := ctx.AppIfConfigured("dovecot_push")
//	…
//	m.push = app.(caddymodule.Provisioning)
//
// The module of the folder examples/provisioning shows it.
type Provisioning interface {
	// RegisterUser makes Dovecot notify for the user with a login, in any
	// spelling that Dovecot knows, whatever the option register says. The error tells why it does not now; unless it is
	// ErrUnknownUser, further attempts follow.
	RegisterUser(ctx context.Context, user string) error
	// UnregisterUser ends that. The user stays unregistered until RegisterUser,
	// also with devices and with "register all".
	UnregisterUser(ctx context.Context, user string) error
	// UserRegistration returns the state of a user's registration.
	UserRegistration(ctx context.Context, user string) (Registration, error)
	// Registrations returns all users about whom something is known, in no
	// order.
	Registrations(ctx context.Context) iter.Seq2[Registration, error]
	// DoveAdmClient is the connector to Dovecot; nil without a doveadm block.
	// It is closed when the configuration is.
	DoveAdmClient() *doveadm.Client
}

// What RegisterUser and UnregisterUser fail with, among others.
var (
	// ErrUnknownUser means that Dovecot does not know the user.
	ErrUnknownUser = registration.ErrUnknownUser
	// ErrUserName means that nobody can be registered under this name.
	ErrUserName = registration.ErrName
	// ErrNoMetadata means that METADATA is not enabled in Dovecot.
	ErrNoMetadata = registration.ErrNoMetadata
	// ErrCredentials means that Dovecot does not take what it is asked with.
	ErrCredentials = registration.ErrCredentials
	// ErrConflict means that something else has set the user's entry.
	ErrConflict = registration.ErrConflict
)

// Registration is the state of a user's registration: the login that Dovecot
// has (User), the State (wanted, registered, conflict, failed, unknown_user or
// unregistered) and since when, the Reason and the Error why the user is not
// registered, what an operator decided (ByHand), whether the user has devices
// (Subscribed) and until when the registration lasts if not. Where one user is
// asked for, Value is the entry as Dovecot has it, and Ours reports whether it
// was set here.
type Registration = adminapi.Registration

func newRegistration(reg registration.Registration) Registration {
	r := Registration{
		User: reg.User, State: string(reg.State), Reason: string(reg.Reason), Since: reg.Since,
		ByHand: reg.ByHand, Subscribed: reg.Subscribed, Until: reg.Until,
	}
	if reg.Err != nil {
		r.Error = reg.Err.Error()
	}
	return r
}

// RegisterUser implements Provisioning.
func (a *App) RegisterUser(ctx context.Context, user string) error {
	r, err := a.reconciler(ctx)
	if err == nil {
		_, err = r.Register(ctx, user, false)
	}
	return err
}

// UnregisterUser implements Provisioning.
func (a *App) UnregisterUser(ctx context.Context, user string) error {
	r, err := a.reconciler(ctx)
	if err == nil {
		_, err = r.Unregister(ctx, user)
	}
	return err
}

// UserRegistration implements Provisioning.
func (a *App) UserRegistration(ctx context.Context, user string) (Registration, error) {
	r, err := a.reconciler(ctx)
	if err != nil {
		return Registration{User: user}, err
	}
	reg, err := r.Registration(ctx, user)
	if err != nil {
		return Registration{User: user}, err
	}
	answer := newRegistration(reg)
	value, ours, err := r.Value(ctx, reg.User)
	switch {
	case errors.Is(err, ErrUnknownUser), errors.Is(err, registration.ErrNeedsLogin):
	case err != nil:
		answer.Error = err.Error()
	default:
		answer.Value, answer.Ours = &value, ours
	}
	return answer, nil
}

// Registrations implements Provisioning.
func (a *App) Registrations(ctx context.Context) iter.Seq2[Registration, error] {
	return func(yield func(Registration, error) bool) {
		r, err := a.reconciler(ctx)
		if err != nil {
			yield(Registration{}, err)
			return
		}
		for reg, err := range r.Registrations(ctx) {
			if !yield(newRegistration(reg), err) || err != nil {
				return
			}
		}
	}
}

// DoveAdmClient implements Provisioning.
func (a *App) DoveAdmClient() *doveadm.Client { return a.doveadmClient() }

// Interface guard.
var _ Provisioning = (*App)(nil)
