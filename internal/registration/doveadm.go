// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"fmt"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
)

// DoveAdm is a Registrar over Dovecot's DoveAdm HTTP API.
type DoveAdm struct{ client *doveadm.Client }

// NewDoveAdm returns a registrar that uses the client.
func NewDoveAdm(client *doveadm.Client) *DoveAdm { return &DoveAdm{client} }

// Get implements Registrar.
func (d *DoveAdm) Get(ctx context.Context, user string) (string, error) {
	value, err := d.client.MetadataGet(ctx, user, Entry)
	return value, doveadmError(err)
}

// Set implements Registrar.
func (d *DoveAdm) Set(ctx context.Context, user, value string) error {
	return doveadmError(d.client.MetadataSet(ctx, user, Entry, value))
}

// Unset implements Registrar.
func (d *DoveAdm) Unset(ctx context.Context, user string) error {
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

func doveadmError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, doveadm.ErrUnknownUser):
		return ErrUnknownUser
	case errors.Is(err, doveadm.ErrNoMetadata):
		return ErrNoMetadata
	case errors.Is(err, doveadm.ErrBadSecret), errors.Is(err, doveadm.ErrNotAllowed):
		return fmt.Errorf("%w: %w", ErrCredentials, err)
	case errors.Is(err, doveadm.ErrUnavailable): // whatever took the endpoints out
		return fmt.Errorf("%w: %w", ErrTemporary, err)
	case errors.Is(err, doveadm.ErrTemporary), errors.Is(err, doveadm.ErrClosed), errors.Is(err, doveadm.ErrFailed):
		return fmt.Errorf("%w: %w", ErrMail, err)
	default:
		return fmt.Errorf("%w: %w", ErrTemporary, err)
	}
}

// Interface guard.
var _ Registrar = (*DoveAdm)(nil)
