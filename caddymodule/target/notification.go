// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package target

import "github.com/dovecotpush/caddy-dovecot-push/internal/notification"

type (
	// Notification is what Dovecot reported: user, folder, UID, event, and more
	// where it has it.
	Notification = notification.Notification
	// Mail is a notification as the devices of its user get it, in JSON.
	Mail = notification.Mail
	// Summary is what devices get when they are no longer quiet or muted, in JSON.
	Summary = notification.Summary
	// Content is how much of a mail is told: thin, sender or full.
	Content = notification.Content
	// Source is how a notification got here.
	Source = notification.Source
)

// The sources.
const (
	// Reported is what Dovecot itself sent to the endpoint.
	Reported = notification.Reported
	// CatchUp is a mail that Dovecot could not report, and that was found in the
	// mailbox later.
	CatchUp = notification.CatchUp
	// Silence is what a device was not notified of while it was quiet or muted. The
	// app turns it into a [Summary]: only senders to devices have to do with it.
	Silence = notification.Silence
)

// The contents.
const (
	// Thin is folder, UID, event and the number of unseen mails.
	Thin = notification.Thin
	// Sender adds From and Subject.
	Sender = notification.Sender
	// Full adds the beginning of the text.
	Full = notification.Full
)

// Decoder reads the notifications of [Record]s: in every character set that mail is
// written in, of every event.
var Decoder = &notification.Decoder{CharsetReader: charsetReader, Events: notification.AllEvents}

// Decode returns the notification of a record. It is decoded text without control
// characters, whatever the mail had.
func Decode(r *Record) (*Notification, error) { return Decoder.Decode(r.Body) }
