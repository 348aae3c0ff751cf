// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"context"
	"errors"
	"fmt"

	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// IMAP is the Mailboxes over IMAP, as a master user who signs in for every user,
// once for each request.
type IMAP struct{ registrar *registration.IMAP }

// NewIMAP returns mailboxes that are reached as the registrar does, which must have
// a master user.
func NewIMAP(registrar *registration.IMAP) *IMAP { return &IMAP{registrar} }

// SetSeen implements Mailboxes.
func (i *IMAP) SetSeen(ctx context.Context, user string, at Place, seen bool) (changed bool, err error) {
	err = i.registrar.Do(ctx, user, func(s *imap.Session) error {
		changed, err = s.SetSeen(at.Folder, at.UIDValidity, at.UID, seen)
		return err
	})
	return changed, imapError(err)
}

// Move implements Mailboxes.
func (i *IMAP) Move(ctx context.Context, user string, at Place, to string) (now Place, err error) {
	err = i.registrar.Do(ctx, user, func(s *imap.Session) error {
		uidValidity, uid, err := s.Move(at.Folder, at.UIDValidity, at.UID, to)
		if err == nil && uid != 0 {
			now = Place{Folder: to, UIDValidity: uidValidity, UID: uid}
		}
		return err
	})
	return now, imapError(err)
}

func imapError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, imap.ErrNoMessage):
		return ErrNoMail
	case errors.Is(err, imap.ErrNoMailbox):
		return ErrNoMailbox
	default:
		return fmt.Errorf("%w: %w", ErrDovecot, err)
	}
}

// Interface guard.
var _ Mailboxes = (*IMAP)(nil)
