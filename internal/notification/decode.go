// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"encoding/json"
	"io"
	"slices"

	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// Decoder turns Dovecot's bodies into notifications. Its zero value is ready to
// use; it holds no state, so one serves any number of goroutines.
type Decoder struct {
	// CharsetReader returns a reader that turns input, text in the named
	// character set, into UTF-8, or an error if it does not know the name. It
	// gets the names in lower case and is asked for every one but UTF-8,
	// US-ASCII, ISO-8859-1 and windows-1252. If it is nil or fails, encoded
	// text in that character set stays as it is in the mail.
	CharsetReader func(charset string, input io.Reader) (io.Reader, error)

	// Events are those in use. Nil means [MessageNew] alone.
	Events Events
}

var onlyNew = Events{MessageNew}

// Decode returns the notification in body. The error is a [*SyntaxError]
// if body is no JSON object, else [ErrUnusedEvent] if it has no event or one
// that is not in use, else a [*FieldError] if user, folder or imap-uid are
// missing or cannot be right, or if imap-uidvalidity is there and cannot be.
// Anything wrong with the other members just leaves them empty.
//
// The stray quote that Dovecot 2.2.19 to 2.2.32 puts into the body of a
// notification without From is overlooked. Nothing of body is kept.
func (d *Decoder) Decode(body []byte) (*Notification, error) {
	n, m, err := decide(body, d.Events)
	if err != nil {
		return nil, err
	}
	n.From = unquoteName(d.header(m.from))
	n.Subject = d.header(m.subject)
	n.Snippet = snippet(m.snippet)
	n.Unseen = firstNumber(m.unseen, m.unread)
	switch n.Event {
	case MailboxRename:
		n.OldFolder, _ = parseName(nameOldFolder, m.oldFolder, MaxName)
	case FlagsSet, FlagsClear:
		n.Flags = flags(m.flags)
	default:
	}
	return n, nil
}

// Identify returns what decides which notification body is: everything but
// From, Subject, Snippet, Unseen, Flags and OldFolder. It takes and refuses the
// same bodies as a [Decoder] with these events, with the same errors, in less
// time: enough to take a notification in. Nil means [MessageNew] alone.
func Identify(body []byte, events Events) (*Notification, error) {
	n, _, err := decide(body, events)
	return n, err
}

// IdentifyFrom is [Identify] with the events of d. from returns From as [Decoder.Decode]
// does, for those who need nothing else.
func (d *Decoder) IdentifyFrom(body []byte) (n *Notification, from func() string, err error) {
	n, m, err := decide(body, d.Events)
	raw, read, text := m.from, false, ""
	return n, func() string {
		if !read {
			read, text = true, unquoteName(d.header(raw))
		}
		return text
	}, err
}

// Repair returns the body that n was read from as valid JSON: without the stray
// quote of Dovecot 2.2.19 to 2.2.32, which no other reader overlooks. Without
// such a quote it is the same, to the byte.
func (n *Notification) Repair(body []byte) (valid []byte, repaired bool) {
	if n.stray == 0 {
		return body, false
	}
	return slices.Concat(body[:n.stray], body[n.stray+1:]), true
}

// decide reads the members that identify the notification, and returns the raw
// values of the others.
func decide(body []byte, events Events) (n *Notification, m members, err error) {
	if m, err = scan(body); err != nil {
		return nil, m, err
	}
	event := events.event(m.event)
	if event == "" {
		return nil, m, ErrUnusedEvent
	}
	if m.repeated != "" {
		return nil, m, &FieldError{Field: m.repeated, Problem: "is there twice"}
	}
	n = &Notification{Event: event, stray: m.stray}
	if n.User, err = parseName(nameUser, m.user, username.Max); err != nil {
		return nil, m, err
	}
	if n.Folder, err = parseName(nameFolder, m.folder, MaxName); err != nil {
		return nil, m, err
	}
	if !event.OfMailbox() || !absent(m.uid) {
		if n.UID, err = parseNumber(nameUID, m.uid); err != nil {
			return nil, m, err
		}
	}
	if !absent(m.uidValidity) {
		if n.UIDValidity, err = parseNumber(nameUIDValidity, m.uidValidity); err != nil {
			return nil, m, err
		}
	}
	return n, m, nil
}

// event returns the event with the name in value, or "" if it is not in use.
func (e Events) event(value []byte) Event {
	inner, _ := unquote(value)
	var buf [32]byte
	name, _ := unescape(buf[:0], inner, len(buf))
	if e == nil {
		e = onlyNew
	}
	return e.find(name)
}

// flags reads an array of flags. Anything else in it is left out.
func flags(value []byte) []string {
	if len(value) > maxFlagsSize {
		return nil
	}
	var all []string
	if json.Unmarshal(value, &all) != nil {
		return nil
	}
	var kept []string
	for _, flag := range all {
		if len(kept) < MaxFlags && len(flag) <= maxFlag && flag == clean([]byte(flag), maxFlag) {
			kept = append(kept, flag)
		}
	}
	return kept
}

// header returns the text of a header that Dovecot sent raw.
func (d *Decoder) header(value []byte) string {
	inner, _ := unquote(value)
	var buf [512]byte
	raw, _ := unescape(buf[:0], inner, maxRaw)
	return clean(d.decodeWords(raw), MaxHeader)
}

// snippet returns the text, which Dovecot has already decoded.
func snippet(value []byte) string {
	inner, _ := unquote(value)
	var buf [1024]byte
	raw, _ := unescape(buf[:0], inner, maxRaw)
	return clean(raw, MaxSnippet)
}

// firstNumber returns the first of values that is a number in range.
func firstNumber(values ...[]byte) *uint32 {
	for _, value := range values {
		if n, ok := parseUint32(value); ok {
			return &n
		}
	}
	return nil
}
