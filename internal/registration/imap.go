// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"fmt"

	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// IMAP is a Registrar over IMAP METADATA (RFC 5464), for which Dovecot needs
// imap_metadata=yes. It signs in for every request.
type IMAP struct {
	server *imap.Server
	master MasterUser
	// own is the user's own login, if there is no master user.
	own imap.Login
}

// MasterUser signs in for every user.
type MasterUser struct {
	Name, Password string
}

// NewIMAP returns a registrar that signs in as the master user. Without one,
// which has an empty name, users are registered when they sign in
// ([Reconciler.SignedIn]); everything else fails with ErrNeedsLogin.
func NewIMAP(server *imap.Server, master MasterUser) *IMAP {
	return &IMAP{server: server, master: master}
}

// as returns a registrar for one user, with that user's own login as it was
// typed.
func (i *IMAP) as(login, password string) *IMAP {
	return &IMAP{server: i.server, own: imap.Login{User: login, Password: password}}
}

// Get implements Registrar.
func (i *IMAP) Get(ctx context.Context, user string) (value string, err error) {
	err = i.do(ctx, user, func(s *imap.Session) error {
		value, err = s.Metadata(Entry)
		return err
	})
	return value, err
}

// Set implements Registrar.
func (i *IMAP) Set(ctx context.Context, user, value string) error {
	return i.do(ctx, user, func(s *imap.Session) error { return s.SetMetadata(Entry, value) })
}

// Unset implements Registrar.
func (i *IMAP) Unset(ctx context.Context, user string) error {
	return i.do(ctx, user, func(s *imap.Session) error { return s.UnsetMetadata(Entry) })
}

// List implements Registrar: IMAP knows nothing of other users.
func (*IMAP) List(context.Context) ([]string, error) {
	return nil, fmt.Errorf("%w: IMAP has no command for it", ErrCannotList)
}

// Values implements Registrar.
func (*IMAP) Values(context.Context, string) (map[string]string, error) {
	return nil, fmt.Errorf("%w: IMAP has no command for it", ErrCannotList)
}

// Do signs in for the user and calls f. Its errors are those of a Registrar.
func (i *IMAP) Do(ctx context.Context, user string, f func(*imap.Session) error) error {
	return i.do(ctx, user, f)
}

func (i *IMAP) do(ctx context.Context, user string, f func(*imap.Session) error) error {
	login := imap.Login{User: user, Master: i.master.Name, Password: i.master.Password}
	if i.master.Name == "" {
		if login = i.own; login.User == "" {
			return ErrNeedsLogin
		}
	}
	if err := username.Valid(user); err != nil {
		return fmt.Errorf("%w: %w", ErrName, err)
	}
	return imapError(i.server.Do(ctx, login, f), user, i.master.Name != "")
}

// imapError sorts the errors of the server.
func imapError(err error, user string, master bool) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, imap.ErrNoSuchUser):
		return ErrUnknownUser
	case errors.Is(err, imap.ErrNoMetadata):
		return ErrNoMetadata
	case errors.Is(err, imap.ErrCredentials) && !master:
		return fmt.Errorf("%w: %w", ErrNeedsLogin, err)
	case errors.Is(err, imap.ErrCredentials) && !username.IsPlain(user):
		// So Dovecot answers to characters that it does not take. Were it the
		// master user, plain names would be refused as well.
		return fmt.Errorf("%w: %w: see auth_username_chars in Dovecot", ErrName, err)
	case errors.Is(err, imap.ErrCredentials):
		return fmt.Errorf("%w: %w: see the passdb with master=yes in Dovecot", ErrCredentials, err)
	case errors.Is(err, imap.ErrUnavailable):
		return fmt.Errorf("%w: %w", ErrTemporary, err)
	default:
		return fmt.Errorf("%w: %w", ErrMail, err)
	}
}

// Interface guard.
var _ Registrar = (*IMAP)(nil)
