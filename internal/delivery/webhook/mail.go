// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Types of the standard payload. Members may be added. An incompatible change
// would get another type.
const (
	// Type is the type of a new mail.
	Type = "mail.new"
	// TypeEvent is the type of every other event, if the endpoint accepts them.
	TypeEvent = "mail.event"
)

// Mail is the data of a template, with the names of the fields that templates
// use. The standard payload has them as members of data:
//
//	{
//	  "type": "mail.new",
//	  "timestamp": "2026-11-23T16:16:18.123Z",
//	  "data": {
//	    "user": "alice@example.com", "folder": "INBOX", "uid": 7, "uidValidity": 1795452971,
//	    "event": "messageNew", "unseen": 3,
//	    "from": "Bob <bob@example.net>", "subject": "Hello", "snippet": "Hello Alice"
//	  }
//	}
//
// Members that are unknown, or left out by the content, are absent from the
// payload.
type Mail struct {
	// ID is the identity of the notification, 32 hexadecimal digits, the same
	// in each attempt. It is in the header field Webhook-Id.
	ID string `json:"-"`
	// Time is when the notification was accepted, in UTC.
	Time time.Time `json:"-"`
	// User is the login as Dovecot reported it, Folder the mailbox.
	User   string `json:"user"`
	Folder string `json:"folder"`
	// UID of the mail in the folder, 0 if Dovecot did not know it yet, and
	// UIDVALIDITY of the folder, 0 if Dovecot did not say.
	UID         uint32 `json:"uid,omitzero"`
	UIDValidity uint32 `json:"uidValidity,omitzero"`
	// Event is messageNew, or another one that the endpoint accepts.
	Event string `json:"event"`
	// Flags are the flags that were set or cleared (flagsSet, flagsClear), and
	// OldFolder is the previous name of a mailbox (mailboxRename).
	Flags     []string `json:"flags,omitzero"`
	OldFolder string   `json:"oldFolder,omitzero"`
	// Unseen is how many unseen mails the folder has, nil if Dovecot did not
	// say.
	Unseen *uint32 `json:"unseen,omitzero"`
	// From and Subject as people read them, with content sender and full;
	// Snippet, the beginning of the text, with content full. One line of at
	// most 1024 bytes each. The sender of the mail chose every character.
	From    string `json:"from,omitzero"`
	Subject string `json:"subject,omitzero"`
	Snippet string `json:"snippet,omitzero"`
	// Source is catch_up for a mail that Dovecot could not report, and that was
	// found in the mailbox; else empty.
	Source string `json:"source,omitzero"`
}

func newMail(rec *queue.Record, n *notification.Notification, c notification.Content) *Mail {
	told := n.Limit(c)
	return &Mail{
		ID: rec.ID.String(), Time: rec.Accepted.UTC(),
		User: n.User, Folder: n.Folder, UID: n.UID, UIDValidity: n.UIDValidity, Event: string(n.Event),
		Flags: n.Flags, OldFolder: n.OldFolder, Unseen: n.Unseen,
		From: told.From, Subject: told.Subject, Snippet: told.Snippet, Source: string(rec.Source),
	}
}

type payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      *Mail     `json:"data"`
}

func standardBody(m *Mail) ([]byte, error) {
	kind := Type
	if m.Event != string(notification.MessageNew) {
		kind = TypeEvent
	}
	return encode(payload{Type: kind, Timestamp: m.Time, Data: m})
}

// encode is json.Marshal without the escapes for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
