// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// DoveAdm is a Source over Dovecot's DoveAdm HTTP API. It needs the commands
// "mailbox status" and "fetch".
type DoveAdm struct{ client *doveadm.Client }

// NewDoveAdm returns a source that uses the client.
func NewDoveAdm(client *doveadm.Client) *DoveAdm { return &DoveAdm{client} }

var statusFields = []string{"uidvalidity", "uidnext", "unseen"}

// Mailbox implements Source.
func (d *DoveAdm) Mailbox(ctx context.Context, user string) (Mailbox, error) {
	if username.HasWildcard(user) {
		return Mailbox{}, registration.ErrName
	}
	status, err := d.client.MailboxStatus(ctx, user, inbox, statusFields...)
	if errors.Is(err, doveadm.ErrNotFound) {
		return Mailbox{}, nil // no INBOX, no mail
	}
	if err != nil {
		return Mailbox{}, registration.DoveAdmError(err)
	}
	return mailboxOf(status)
}

// Mailboxes implements Source.
func (d *DoveAdm) Mailboxes(ctx context.Context, mask string) (map[string]Mailbox, error) {
	all, err := d.client.MailboxStatusMask(ctx, mask, inbox, statusFields...)
	if err != nil {
		return nil, registration.DoveAdmError(err)
	}
	boxes := make(map[string]Mailbox, len(all))
	for user, status := range all {
		if boxes[user], err = mailboxOf(status); err != nil {
			return nil, err
		}
	}
	return boxes, nil
}

func mailboxOf(status map[string]string) (m Mailbox, err error) {
	for i, to := range []*uint32{&m.UIDValidity, &m.UIDNext, &m.Unseen} {
		if *to, err = number(status[statusFields[i]]); err != nil {
			return m, fmt.Errorf("%w: %s: %w", registration.ErrMail, statusFields[i], err)
		}
	}
	return m, nil
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

// Messages implements Source.
func (d *DoveAdm) Messages(ctx context.Context, user string, _ uint32, uids []UIDs) ([]Message, Mailbox, error) {
	messages, err := d.messages(ctx, user, uids)
	if err != nil {
		return nil, Mailbox{}, err
	}
	box, err := d.Mailbox(ctx, user)
	return messages, box, err
}

func (d *DoveAdm) messages(ctx context.Context, user string, uids []UIDs) ([]Message, error) {
	rows, err := d.client.Fetch(ctx, user, []string{"mailbox", inbox, "uid", setOf(uids)},
		"uid", "flags", "date.received.unixtime", "date.saved.unixtime", "hdr", "body.snippet")
	if err != nil {
		return nil, registration.DoveAdmError(err)
	}
	messages := make([]Message, len(rows))
	for i, row := range rows {
		m := &messages[i]
		if m.UID, err = number(row["uid"]); err != nil {
			return nil, fmt.Errorf("%w: uid: %w", registration.ErrMail, err)
		}
		for flag := range strings.FieldsSeq(row["flags"]) {
			m.Seen = m.Seen || strings.EqualFold(flag, `\Seen`)
		}
		m.Received, m.Saved = unixTime(row["date.received.unixtime"]), unixTime(row["date.saved.unixtime"])
		m.Snippet = row["body.snippet"]
		m.readHeader(row["hdr"])
	}
	return messages, nil
}

func unixTime(s string) time.Time {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}
	}
	return time.Unix(n, 0)
}

// setOf is a sequence set of IMAP.
func setOf(uids []UIDs) string {
	parts := make([]string, len(uids))
	for i, u := range uids {
		parts[i] = fmt.Sprintf("%d:%d", u.First, u.Last)
	}
	return strings.Join(parts, ",")
}

// Interface guard.
var _ Source = (*DoveAdm)(nil)
