// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package imap

import (
	"errors"
	"fmt"
	"slices"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// What changes of messages fail with, besides [ErrMail].
var (
	// ErrNoMessage means that there is no such message, in a mailbox with that
	// UIDVALIDITY.
	ErrNoMessage = errors.New("IMAP server has no such message")
	// ErrNoMailbox means that a message cannot be moved to a mailbox that does not
	// exist.
	ErrNoMailbox = errors.New("IMAP server has no such mailbox")
)

// SetSeen sets or removes \Seen of a message, and reports whether that changed
// anything. Errors: [ErrNoMessage].
func (s *Session) SetSeen(mailbox string, uidValidity, uid uint32, seen bool) (changed bool, err error) {
	message, err := s.selectMessage(mailbox, uidValidity, uid)
	if err != nil {
		return false, err
	}
	fetched, err := s.client.Fetch(message, &goimap.FetchOptions{UID: true, Flags: true}).Collect()
	if err != nil {
		return false, mailError(s.ctx, "FETCH", err)
	}
	i := slices.IndexFunc(fetched, func(m *imapclient.FetchMessageBuffer) bool { return uint32(m.UID) == uid })
	if i < 0 {
		return false, ErrNoMessage
	}
	if slices.Contains(fetched[i].Flags, goimap.FlagSeen) == seen {
		return false, nil
	}
	store := goimap.StoreFlags{Op: goimap.StoreFlagsDel, Silent: true, Flags: []goimap.Flag{goimap.FlagSeen}}
	if seen {
		store.Op = goimap.StoreFlagsAdd
	}
	if err := s.client.Store(message, &store, nil).Close(); err != nil {
		return false, mailError(s.ctx, "STORE", err)
	}
	return true, nil
}

// Move moves a message, and returns its UIDVALIDITY and UID there; 0 if the server
// does not say. Errors: [ErrNoMessage], [ErrNoMailbox].
func (s *Session) Move(mailbox string, uidValidity, uid uint32, to string) (toUIDValidity, toUID uint32, err error) {
	if !s.client.Caps().Has(goimap.CapMove) { // the way without may remove other messages
		return 0, 0, fmt.Errorf("MOVE: %w: it does not know the command", ErrMail)
	}
	message, err := s.selectMessage(mailbox, uidValidity, uid)
	if err != nil {
		return 0, 0, err
	}
	fetched, err := s.client.Fetch(message, &goimap.FetchOptions{UID: true}).Collect()
	if err != nil {
		return 0, 0, mailError(s.ctx, "FETCH", err)
	}
	if len(fetched) == 0 {
		return 0, 0, ErrNoMessage
	}
	moved, err := s.client.Move(message, to).Wait()
	if answer, ok := errors.AsType[*goimap.Error](err); ok && (answer.Code == goimap.ResponseCodeTryCreate || answer.Code == goimap.ResponseCodeNonExistent) {
		return 0, 0, ErrNoMailbox
	}
	if err != nil {
		return 0, 0, mailError(s.ctx, "MOVE", err)
	}
	if set, ok := moved.DestUIDs.(goimap.UIDSet); ok {
		if uids, ok := set.Nums(); ok && len(uids) == 1 {
			return moved.UIDValidity, uint32(uids[0]), nil
		}
	}
	return 0, 0, nil
}

// selectMessage selects the mailbox of a message.
func (s *Session) selectMessage(mailbox string, uidValidity, uid uint32) (goimap.UIDSet, error) {
	selected, err := s.client.Select(mailbox, nil).Wait()
	if answer, ok := errors.AsType[*goimap.Error](err); ok && answer.Type == goimap.StatusResponseTypeNo &&
		(answer.Code == goimap.ResponseCodeNonExistent || answer.Code == "") { // Dovecot has no code for it here
		return nil, ErrNoMessage
	}
	if err != nil {
		return nil, mailError(s.ctx, "SELECT", err)
	}
	if selected.UIDValidity != uidValidity {
		return nil, ErrNoMessage
	}
	return goimap.UIDSetNum(goimap.UID(uid)), nil
}
