// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
)

// DoveAdm is the Mailboxes over Dovecot's DoveAdm HTTP API. It needs the commands
// "mailbox status", "fetch", "flags add", "flags remove" and "move".
type DoveAdm struct{ client *doveadm.Client }

// NewDoveAdm returns the mailboxes that a client reaches.
func NewDoveAdm(client *doveadm.Client) *DoveAdm { return &DoveAdm{client} }

const seenFlag = `\Seen`

// SetSeen implements Mailboxes.
func (d *DoveAdm) SetSeen(ctx context.Context, user string, at Place, seen bool) (changed bool, err error) {
	mail, err := d.find(ctx, user, at)
	if err != nil {
		return false, err
	}
	if has := slices.ContainsFunc(strings.Fields(mail["flags"]), func(f string) bool { return strings.EqualFold(f, seenFlag) }); has == seen {
		return false, nil
	}
	set := d.client.FlagsRemove
	if seen {
		set = d.client.FlagsAdd
	}
	return true, doveadmError(set(ctx, user, []string{seenFlag}, queryOf(at, mail)))
}

// Move implements Mailboxes. The mail keeps its GUID, by which it is found again
// among those that came to the mailbox since.
func (d *DoveAdm) Move(ctx context.Context, user string, at Place, to string) (Place, error) {
	var status map[string]string
	var statusErr error
	var asking sync.WaitGroup
	asking.Go(func() { status, statusErr = d.client.MailboxStatus(ctx, user, to, "uidvalidity", "uidnext") })
	mail, err := d.find(ctx, user, at)
	asking.Wait()
	switch {
	case err != nil:
		return Place{}, err
	case errors.Is(statusErr, doveadm.ErrNotFound):
		return Place{}, ErrNoMailbox
	case statusErr != nil:
		return Place{}, doveadmError(statusErr)
	}
	err = d.client.Move(ctx, user, to, queryOf(at, mail))
	if errors.Is(err, doveadm.ErrNotFound) { // it was just deleted
		return Place{}, ErrNoMailbox
	}
	if err != nil {
		return Place{}, doveadmError(err)
	}
	there, err := d.client.Fetch(ctx, user, []string{"mailbox", to, "uid", status["uidnext"] + ":*", "guid", mail["guid"]}, "uid")
	if err != nil || len(there) == 0 {
		return Place{}, d.missing(ctx, user, at, err)
	}
	uidValidity, err1 := number(status["uidvalidity"])
	uid, err2 := number(there[len(there)-1]["uid"])
	if err1 != nil || err2 != nil {
		return Place{}, nil //nolint:nilerr // it was moved
	}
	return Place{Folder: to, UIDValidity: uidValidity, UID: uid}, nil
}

// missing is what it means that a mail was not found where it was moved to. Dovecot
// 2.4 does not say that it could not.
func (d *DoveAdm) missing(ctx context.Context, user string, at Place, err error) error {
	switch _, gone := d.find(ctx, user, at); {
	case gone == nil:
		return fmt.Errorf("%w: the mail is where it was", ErrDovecot)
	case err != nil && errors.Is(gone, ErrNoMail):
		return nil // it was moved
	default: // somebody was faster
		return gone
	}
}

// find returns GUID and flags of a mail.
func (d *DoveAdm) find(ctx context.Context, user string, at Place) (mail map[string]string, err error) {
	var mails []map[string]string
	var fetchErr error
	var fetching sync.WaitGroup
	fetching.Go(func() { mails, fetchErr = d.client.Fetch(ctx, user, queryOf(at, nil), "guid", "flags") })
	status, err := d.client.MailboxStatus(ctx, user, at.Folder, "uidvalidity")
	fetching.Wait()
	switch err = cmp.Or(err, fetchErr); {
	case errors.Is(err, doveadm.ErrNotFound):
		return nil, ErrNoMail
	case err == nil && status["uidvalidity"] != strconv.FormatUint(uint64(at.UIDValidity), 10):
		return nil, ErrNoMail
	case err != nil:
		return nil, doveadmError(err)
	case len(mails) == 0:
		return nil, ErrNoMail
	case mails[0]["guid"] == "":
		return nil, fmt.Errorf("%w: it names no GUID", ErrDovecot)
	}
	return mails[0], nil
}

// queryOf finds a mail, and only this one if its GUID is known.
func queryOf(at Place, mail map[string]string) []string {
	query := []string{"mailbox", at.Folder, "uid", strconv.FormatUint(uint64(at.UID), 10)}
	if mail != nil {
		query = append(query, "guid", mail["guid"])
	}
	return query
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

func doveadmError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrDovecot, err)
}

// Interface guard.
var _ Mailboxes = (*DoveAdm)(nil)
