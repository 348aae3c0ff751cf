// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"fmt"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// DoveAdm is a Registrar over Dovecot's DoveAdm HTTP API.
type DoveAdm struct{ client *doveadm.Client }

// NewDoveAdm returns a registrar that uses the client.
func NewDoveAdm(client *doveadm.Client) *DoveAdm { return &DoveAdm{client} }

// Get implements Registrar.
func (d *DoveAdm) Get(ctx context.Context, user string) (string, error) {
	if username.HasWildcard(user) {
		return "", errWildcard
	}
	value, err := d.client.MetadataGet(ctx, user, Entry)
	return value, doveadmError(err)
}

// Set implements Registrar.
func (d *DoveAdm) Set(ctx context.Context, user, value string) error {
	if username.HasWildcard(user) {
		return errWildcard
	}
	return doveadmError(d.client.MetadataSet(ctx, user, Entry, value))
}

// Unset implements Registrar.
func (d *DoveAdm) Unset(ctx context.Context, user string) error {
	if username.HasWildcard(user) {
		return errWildcard
	}
	return doveadmError(d.client.MetadataUnset(ctx, user, Entry))
}

// List implements Registrar.
func (d *DoveAdm) List(ctx context.Context) ([]string, error) {
	users, err := d.client.Users(ctx, "*")
	switch {
	case errors.Is(err, doveadm.ErrNoIteration), errors.Is(err, doveadm.ErrNotAllowed):
		return nil, fmt.Errorf("%w: %w", ErrCannotList, err)
	}
	return users, doveadmError(err)
}

// Values implements Registrar.
func (d *DoveAdm) Values(ctx context.Context, mask string) (map[string]string, error) {
	values, err := d.client.MetadataGetMask(ctx, mask, Entry)
	return values, doveadmError(err)
}

var errWildcard = fmt.Errorf("%w: it has * or ?, which DoveAdm takes for several users", ErrName)

// DoveAdmError makes one of this package's errors of an error of the client.
func DoveAdmError(err error) error { return doveadmError(err) }

// doveadmError sorts the errors of the client. Whether an endpoint can serve is
// found out by the client; every other failure is one with this user.
func doveadmError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, doveadm.ErrUnknownUser):
		return ErrUnknownUser
	case errors.Is(err, doveadm.ErrNoMetadata):
		return ErrNoMetadata
	case errors.Is(err, doveadm.ErrBadSecret), errors.Is(err, doveadm.ErrNotAllowed), errors.Is(err, doveadm.ErrUnknownCommand):
		return fmt.Errorf("%w: %w", ErrCredentials, err)
	case errors.Is(err, doveadm.ErrUnavailable), errors.Is(err, doveadm.ErrUnreachable), errors.Is(err, doveadm.ErrNotServed),
		errors.Is(err, doveadm.ErrClientClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrTemporary, err)
	default:
		return fmt.Errorf("%w: %w", ErrMail, err)
	}
}

// Interface guard.
var _ Registrar = (*DoveAdm)(nil)
