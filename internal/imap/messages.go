// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package imap

import (
	"slices"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"
)

const (
	// maxMessages is how much a server may say on a connection on which messages
	// are read, in bytes.
	maxMessages = 32 << 20
	// maxHeader is how much of the header of a message is read, in bytes.
	maxHeader = 256 << 10
)

// headerFields are those that are read of a message.
var headerFields = []string{"From", "Subject", "Received"}

// MailboxStatus is the state of a mailbox.
type MailboxStatus struct {
	UIDValidity, UIDNext, Unseen uint32
}

// Status returns the state of the INBOX.
func (s *Session) Status() (MailboxStatus, error) {
	data, err := s.client.Status("INBOX", &goimap.StatusOptions{UIDNext: true, UIDValidity: true, NumUnseen: true}).Wait()
	if err != nil {
		return MailboxStatus{}, mailError(s.ctx, "STATUS", err)
	}
	status := MailboxStatus{UIDValidity: data.UIDValidity, UIDNext: uint32(data.UIDNext)}
	if data.NumUnseen != nil {
		status.Unseen = *data.NumUnseen
	}
	return status, nil
}

// UIDRange are the UIDs from First to Last, both included.
type UIDRange struct{ First, Last uint32 }

// Message is what is read of a message.
type Message struct {
	UID          uint32
	Seen         bool
	InternalDate time.Time
	// Header are the fields From, Subject and Received as they are in the
	// message, at most 256 KiB. Lines end with LF.
	Header string
}

// Messages returns those messages of the INBOX that are there, of these UIDs,
// and leaves them as they are. Where the UIDVALIDITY is another one there are
// none.
func (s *Session) Messages(uidValidity uint32, uids []UIDRange) ([]Message, error) {
	selected, err := s.client.Select("INBOX", &goimap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		return nil, mailError(s.ctx, "EXAMINE", err)
	}
	if selected.UIDValidity != uidValidity {
		return nil, nil
	}
	s.bound.left.Store(maxMessages)
	var set goimap.UIDSet
	for _, r := range uids {
		set.AddRange(goimap.UID(r.First), goimap.UID(r.Last))
	}
	section := &goimap.FetchItemBodySection{
		Specifier: goimap.PartSpecifierHeader, HeaderFields: headerFields, Peek: true,
		Partial: &goimap.SectionPartial{Size: maxHeader},
	}
	fetched, err := s.client.Fetch(set, &goimap.FetchOptions{
		UID: true, Flags: true, InternalDate: true, BodySection: []*goimap.FetchItemBodySection{section},
	}).Collect()
	if err != nil {
		return nil, mailError(s.ctx, "FETCH", err)
	}
	messages := make([]Message, 0, len(fetched))
	for _, f := range fetched {
		m := Message{UID: uint32(f.UID), InternalDate: f.InternalDate, Seen: slices.Contains(f.Flags, goimap.FlagSeen)}
		for _, section := range f.BodySection {
			m.Header = strings.ReplaceAll(string(section.Bytes), "\r\n", "\n")
		}
		if m.UID != 0 { // else it is only that its flags changed
			messages = append(messages, m)
		}
	}
	return messages, nil
}
