// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package notification has the type, the decoder and the identity of a
// notification: one event that Dovecot reported with the "ox" driver of its
// push_notification plugin.
//
// The decoder reads the body of Dovecot's PUT request, as every version since
// 2.2.19 writes it, including malformed ones. The body may be megabytes long,
// and the sender of the mail chooses From, Subject and snippet. The result is a
// [Notification] whose members are bounded, valid UTF-8 and free of control
// characters, or an error that holds nothing of the body. The [Identity]
// recognizes a notification that is sent again.
package notification

// Bounds of what a [Notification] holds, in bytes of UTF-8.
const (
	// MaxName bounds Folder, and [username.Max] bounds User. A longer one is a
	// [FieldError]: cutting it would make somebody else of the user.
	MaxName = 1024

	// MaxHeader bounds From and Subject. Longer ones are cut between two
	// characters.
	MaxHeader = 1024

	// MaxSnippet bounds Snippet in the same way. Dovecot sends 200 characters
	// at most (100 before 2.3.7), which are 800 bytes.
	MaxSnippet = 1024

	// MaxFlags bounds Flags, in their number. What is beyond is left out.
	MaxFlags = 64

	// maxFlag bounds one flag; a longer one is left out.
	maxFlag = 128
	// maxFlagsSize bounds the array of flags in the body, in bytes: some twice of
	// what is kept. Decoding a body full of flags would take a third of a second.
	maxFlagsSize = 16 << 10
)

// Notification is one event that Dovecot reported.
type Notification struct {
	// User is the login as Dovecot knows it, in lower case by its default, or
	// with the driver's user_from_metadata the value that METADATA holds.
	// Never empty, always as Dovecot sent it.
	User string

	// Folder is the mailbox; the ox driver reports "INBOX" only. Never empty,
	// always as Dovecot sent it.
	Folder string

	// OldFolder is what the mailbox was called before [MailboxRename].
	OldFolder string `json:",omitempty"`

	// UIDValidity is the UIDVALIDITY of the folder (RFC 9051, section 2.3.1.1),
	// 0 if Dovecot did not say.
	UIDValidity uint32

	// UID of the message in the folder. 0 says that Dovecot did not know it
	// yet, as is common with Maildir when several mails arrive at once, or
	// that a mailbox has none.
	UID uint32

	// Event is what happened: [MessageNew] unless others are asked for.
	Event Event

	// Flags are the flags and keywords that the message got or lost, of
	// [FlagsSet] and [FlagsClear].
	Flags []string `json:",omitempty"`

	// From is the From header for people to read: decoded, on one line, at most
	// [MaxHeader] bytes, like "Jürgen <j@example.net>". Its sender chose every
	// character of it, so it is no address to send to or to decide upon. Empty
	// if there is none.
	From string

	// Subject is the Subject header, decoded, on one line, at most [MaxHeader]
	// bytes. Empty if there is none.
	Subject string

	// Snippet is the beginning of the message's text, on one line, at most
	// [MaxSnippet] bytes. Empty if the message has no text.
	Snippet string

	// Unseen is the number of unseen messages in the folder after the event,
	// nil if Dovecot did not say (before 2.2.26, or when it could not look).
	Unseen *uint32

	stray int // see Repair
}

// Source is how a notification got here.
type Source string

// The sources.
const (
	// Reported is what Dovecot itself sent to the endpoint.
	Reported Source = ""
	// CatchUp is what Dovecot could not report, and was found in the mailbox
	// later.
	CatchUp Source = "catch_up"
	// Silence is what a device was not notified of while it was quiet or muted: it
	// is notified of all of it together. The notification is of that device alone
	// and names no message.
	Silence Source = "silence"
)
