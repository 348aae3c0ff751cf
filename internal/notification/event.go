// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Event is what happened to a message or a mailbox, in the words of RFC 5423,
// with a small first letter as Dovecot's ox driver writes its only one.
type Event string

// The events. The ox driver reports MessageNew; all others come from a script
// of Dovecot's Lua driver (examples/lua).
const (
	// MessageNew is the delivery of a new message.
	MessageNew Event = "messageNew"
	// MessageAppend is a message that a mail program stored, copied or moved
	// to the folder.
	MessageAppend Event = "messageAppend"
	// MessageRead, MessageTrash and MessageExpunge are a message that was
	// read, marked as deleted, or removed from the folder, also by moving it.
	MessageRead    Event = "messageRead"
	MessageTrash   Event = "messageTrash"
	MessageExpunge Event = "messageExpunge"
	// FlagsSet and FlagsClear are flags that a message got or lost.
	FlagsSet   Event = "flagsSet"
	FlagsClear Event = "flagsClear"
	// The events of mailboxes have no UID.
	MailboxCreate      Event = "mailboxCreate"
	MailboxDelete      Event = "mailboxDelete"
	MailboxRename      Event = "mailboxRename"
	MailboxSubscribe   Event = "mailboxSubscribe"
	MailboxUnsubscribe Event = "mailboxUnsubscribe"
)

// Events are some of the events.
type Events []Event

// AllEvents are all events.
var AllEvents = Events{
	MessageNew, MessageAppend, MessageRead, MessageTrash, MessageExpunge, FlagsSet, FlagsClear,
	MailboxCreate, MailboxDelete, MailboxRename, MailboxSubscribe, MailboxUnsubscribe,
}

// ParseEvents reads the names of events, in any letter case; "all" is all of
// them.
func ParseEvents(names []string) (Events, error) {
	var events Events
	for _, name := range names {
		if strings.EqualFold(name, "all") {
			return AllEvents, nil
		}
		event := AllEvents.find([]byte(name))
		if event == "" {
			return nil, fmt.Errorf("there is no event %q; there are: all, %s", name, AllEvents)
		}
		events = append(events, event)
	}
	return events, nil
}

// String lists the names.
func (e Events) String() string {
	names := make([]string, len(e))
	for i, event := range e {
		names[i] = string(event)
	}
	return strings.Join(names, ", ")
}

// find returns the event with a name in any letter case, or "" if it is none
// of them.
func (e Events) find(name []byte) Event {
	i := slices.IndexFunc(e, func(event Event) bool { return bytes.EqualFold(name, []byte(event)) })
	if i < 0 {
		return ""
	}
	return e[i]
}

// OfMailbox reports whether the event is one of a mailbox, not of a message.
func (e Event) OfMailbox() bool { return strings.HasPrefix(string(e), "mailbox") }

// Withdraws reports whether the message needs no attention any more: a device
// that has announced it takes that back.
func (e Event) Withdraws() bool { return e == MessageRead || e == MessageTrash || e == MessageExpunge }
