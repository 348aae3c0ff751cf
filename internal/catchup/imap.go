// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"

	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// IMAP is a Source over IMAP, as a master user who signs in for every user, once
// for each request. It reads neither the beginning of a text nor when a message
// was saved.
type IMAP struct{ registrar *registration.IMAP }

// NewIMAP returns a source that signs in as the registrar does, which must have a
// master user.
func NewIMAP(registrar *registration.IMAP) *IMAP { return &IMAP{registrar} }

// Mailbox implements Source.
func (i *IMAP) Mailbox(ctx context.Context, user string) (box Mailbox, err error) {
	err = i.registrar.Do(ctx, user, func(s *imap.Session) error {
		status, err := s.Status()
		box = Mailbox(status)
		return err
	})
	return box, err
}

// Mailboxes implements Source: IMAP knows nothing of other users.
func (*IMAP) Mailboxes(context.Context, string) (map[string]Mailbox, error) {
	return nil, registration.ErrCannotList
}

// Messages implements Source.
func (i *IMAP) Messages(ctx context.Context, user string, uidValidity uint32, uids []UIDs) (messages []Message, box Mailbox, err error) {
	ranges := make([]imap.UIDRange, len(uids))
	for n, u := range uids {
		ranges[n] = imap.UIDRange(u)
	}
	err = i.registrar.Do(ctx, user, func(s *imap.Session) error {
		fetched, err := s.Messages(uidValidity, ranges)
		messages = make([]Message, len(fetched))
		for n, f := range fetched {
			m := &messages[n]
			m.UID, m.Seen, m.Received = f.UID, f.Seen, f.InternalDate
			m.readHeader(f.Header)
		}
		if err != nil {
			return err
		}
		status, err := s.Status()
		box = Mailbox(status)
		return err
	})
	return messages, box, err
}

// Interface guard.
var _ Source = (*IMAP)(nil)
