// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import "time"

// Content is how much of a notification leaves the mail system.
type Content string

// The steps of content. Each includes the one before it.
const (
	// Thin is user, folder, UID, event and the number of unseen messages.
	Thin Content = "thin"
	// Sender adds From and Subject.
	Sender Content = "sender"
	// Full adds the beginning of the text.
	Full Content = "full"
)

// Valid reports whether c is one of the steps.
func (c Content) Valid() bool { return c == Thin || c == Sender || c == Full }

// AtMost returns c, or most if c is more or says nothing.
func (c Content) AtMost(most Content) Content {
	if c == Thin || c == Sender && most == Full {
		return c
	}
	return most
}

// Limit returns n without the members that c does not include.
func (n Notification) Limit(c Content) Notification {
	if c != Full {
		n.Snippet = ""
	}
	if c != Full && c != Sender {
		n.From, n.Subject = "", ""
	}
	return n
}

// Mail is a notification as devices and event streams get it, in JSON. It has
// no user: its receiver is the user's.
type Mail struct {
	// Type is always "Mail". Other messages to the same receiver have other types.
	Type string `json:"@type"`
	// ID is the identity of the notification, the same on every attempt.
	ID          string `json:"id"`
	Folder      string `json:"folder"`
	UID         uint32 `json:"uid"`
	UIDValidity uint32 `json:"uidValidity"`
	Event       Event  `json:"event"`
	// Flags and OldFolder are of the events that have them.
	Flags     []string  `json:"flags,omitempty"`
	OldFolder string    `json:"oldFolder,omitempty"`
	Unseen    *uint32   `json:"unseen,omitempty"`
	From      string    `json:"from,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	Snippet   string    `json:"snippet,omitempty"`
	Time      time.Time `json:"time"`
	// Source is how the notification got here; empty if Dovecot reported it.
	Source Source `json:"source,omitempty"`
	// Actions are what the device may do with the mail; nil for nothing.
	Actions *Actions `json:"actions,omitempty"`
}

// Mail returns n with what c includes. accepted is when it was accepted, with a
// precision of one second.
func (n Notification) Mail(c Content, id Identity, accepted time.Time, source Source) Mail {
	n = n.Limit(c)
	return Mail{
		Type: "Mail", ID: id.String(), Folder: n.Folder, UID: n.UID, UIDValidity: n.UIDValidity,
		Event: n.Event, Flags: n.Flags, OldFolder: n.OldFolder, Unseen: n.Unseen, From: n.From, Subject: n.Subject, Snippet: n.Snippet,
		Time: accepted.UTC().Truncate(time.Second), Source: source,
	}
}
