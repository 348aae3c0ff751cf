// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"fmt"

	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
)

// IMAP is a Registrar over IMAP METADATA (RFC 5464), for which Dovecot needs
// imap_metadata=yes. It signs in for every request.
type IMAP struct {
	server *imap.Server
	master MasterUser
	own    string // password of the user, if there is no master user
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

// as returns a registrar for one user, with that user's own password.
func (i *IMAP) as(password string) *IMAP { return &IMAP{server: i.server, own: password} }

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

func (i *IMAP) do(ctx context.Context, user string, f func(*imap.Session) error) error {
	login := imap.Login{User: user, Master: i.master.Name, Password: i.master.Password}
	if i.master.Name == "" {
		if i.own == "" {
			return ErrNeedsLogin
		}
		login.Password = i.own
	}
	err := i.server.Do(ctx, login, f)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, imap.ErrNoSuchUser):
		return ErrUnknownUser
	case errors.Is(err, imap.ErrNoMetadata):
		return ErrNoMetadata
	case errors.Is(err, imap.ErrCredentials) && i.master.Name != "":
		return fmt.Errorf("%w: %w: see the passdb with master=yes in Dovecot", ErrCredentials, err)
	case errors.Is(err, imap.ErrMail):
		return fmt.Errorf("%w: %w", ErrMail, err)
	default:
		return fmt.Errorf("%w: %w", ErrTemporary, err)
	}
}

// Interface guard.
var _ Registrar = (*IMAP)(nil)
