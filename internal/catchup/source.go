// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// inbox is the one folder that Dovecot's ox driver reports.
const inbox = "INBOX"

// Mailbox is the state of a user's INBOX.
type Mailbox struct {
	// UIDValidity, UIDNext and Unseen are those of IMAP (RFC 9051).
	UIDValidity, UIDNext, Unseen uint32
}

// Message is a mail as far as a notification needs it.
type Message struct {
	UID  uint32
	Seen bool
	// Received is the internal date. Saved is when it came to this mailbox,
	// zero if that is not known.
	Received, Saved time.Time
	// From and Subject are the first fields of that name as they are in the
	// mail, nil if there is none. Snippet is the beginning of the text.
	From, Subject *string
	Snippet       string
	// Transported tells that the mail has a Received field, which what a client
	// has written itself has not.
	Transported bool
}

// Source reads the mailboxes of users. Its errors are those of a
// [registration.Registrar], and name no user.
type Source interface {
	// Mailbox reads the INBOX of one user.
	Mailbox(ctx context.Context, user string) (Mailbox, error)
	// Mailboxes reads the INBOX of all users whose login fits the mask (* stands
	// for anything), or fails with [registration.ErrCannotList].
	Mailboxes(ctx context.Context, mask string) (map[string]Mailbox, error)
	// Messages reads those messages of the INBOX that are there, of these UIDs, and
	// the INBOX after them. Where the UIDVALIDITY is another one they are none, or
	// others.
	Messages(ctx context.Context, user string, uidValidity uint32, uids []UIDs) ([]Message, Mailbox, error)
}

// UIDs are those from First to Last, both included.
type UIDs struct{ First, Last uint32 }

// copiedLater is how much later than its internal date a message was saved that
// was copied or moved to the mailbox, or stored with a date of its own.
const copiedLater = time.Minute

// appended tells that the message was not delivered, as far as can be told.
func (m *Message) appended() bool {
	return !m.Transported || !m.Saved.IsZero() && m.Saved.Sub(m.Received) > copiedLater
}

// readHeader reads what is needed of the header of a message, whose lines end
// with LF.
func (m *Message) readHeader(header string) {
	for header != "" && header[0] != '\n' {
		end := endOfField(header)
		name, value, _ := strings.Cut(header[:end], ":")
		header = strings.TrimPrefix(header[end:], "\n")
		value = strings.TrimLeft(value, " \t")
		switch name = strings.TrimRight(name, " \t"); {
		case strings.EqualFold(name, "From") && m.From == nil:
			m.From = &value
		case strings.EqualFold(name, "Subject") && m.Subject == nil:
			m.Subject = &value
		case strings.EqualFold(name, "Received"):
			m.Transported = true
		}
	}
}

// endOfField is where the first field of a header ends, before its line end. Lines
// that begin with a blank belong to the line before.
func endOfField(header string) int {
	for end := 0; ; end++ {
		next := strings.IndexByte(header[end:], '\n')
		if next < 0 {
			return len(header)
		}
		end += next
		if end+1 == len(header) || header[end+1] != ' ' && header[end+1] != '\t' {
			return end
		}
	}
}

// body is what Dovecot's ox driver would have sent.
func (m *Message) body(user string, box Mailbox) []byte {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(struct { // which cannot fail
		User        string  `json:"user"`
		Event       string  `json:"event"`
		Folder      string  `json:"folder"`
		UIDValidity uint32  `json:"imap-uidvalidity"`
		UID         uint32  `json:"imap-uid"`
		From        *string `json:"from,omitempty"`
		Subject     *string `json:"subject,omitempty"`
		Snippet     string  `json:"snippet"`
		Unseen      uint32  `json:"unseen"`
	}{user, string(notification.MessageNew), inbox, box.UIDValidity, m.UID, m.From, m.Subject, m.Snippet, box.Unseen})
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}
