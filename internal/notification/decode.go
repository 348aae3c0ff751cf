// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"bytes"
	"io"
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
}

// Decode returns the notification that body is. The error is a [*SyntaxError]
// if body is no JSON object, else [ErrUnusedEvent] if it has no event or one
// that is not in use, else a [*FieldError] if user, folder or imap-uid are
// missing or cannot be right, or if imap-uidvalidity is there and cannot be.
// Anything wrong with the other members just leaves them empty.
//
// The stray quote that Dovecot 2.2.19 to 2.2.32 puts into the body of a
// notification without From is overlooked. Nothing of body is kept.
func (d *Decoder) Decode(body []byte) (*Notification, error) {
	n, m, err := decide(body)
	if err != nil {
		return nil, err
	}
	n.From = unquoteName(d.header(m.from))
	n.Subject = d.header(m.subject)
	n.Snippet = snippet(m.snippet)
	n.Unseen = firstNumber(m.unseen, m.unread)
	return n, nil
}

// Identify returns what decides which notification body is: everything but
// From, Subject, Snippet and Unseen. It takes and refuses the same bodies as
// Decode, with the same errors, in less time: enough to take a
// notification in.
func Identify(body []byte) (*Notification, error) {
	n, _, err := decide(body)
	return n, err
}

// decide reads the members that decide which notification body is, and
// returns where the others stand.
func decide(body []byte) (n *Notification, m members, err error) {
	if m, err = scan(body); err != nil {
		return nil, m, err
	}
	if !isMessageNew(m.event) {
		return nil, m, ErrUnusedEvent
	}
	if m.repeated != "" {
		return nil, m, &FieldError{Field: m.repeated, Problem: "is there twice"}
	}
	n = &Notification{Event: MessageNew}
	if n.User, err = parseName(nameUser, m.user); err != nil {
		return nil, m, err
	}
	if n.Folder, err = parseName(nameFolder, m.folder); err != nil {
		return nil, m, err
	}
	if n.UID, err = parseNumber(nameUID, m.uid); err != nil {
		return nil, m, err
	}
	if !absent(m.uidValidity) {
		if n.UIDValidity, err = parseNumber(nameUIDValidity, m.uidValidity); err != nil {
			return nil, m, err
		}
	}
	return n, m, nil
}

func isMessageNew(value []byte) bool {
	inner, _ := unquote(value)
	var buf [32]byte
	event, _ := unescape(buf[:0], inner, len(buf))
	return bytes.EqualFold(event, []byte(MessageNew))
}

// header returns the text of a header that Dovecot sent raw.
func (d *Decoder) header(value []byte) string {
	inner, _ := unquote(value)
	var buf [512]byte
	raw, _ := unescape(buf[:0], inner, maxRaw)
	return clean(d.decodeWords(raw), MaxHeader)
}

// snippet returns the text that Dovecot decoded already.
func snippet(value []byte) string {
	inner, _ := unquote(value)
	var buf [1024]byte
	raw, _ := unescape(buf[:0], inner, maxRaw)
	return clean(raw, MaxSnippet)
}

// firstNumber returns the first of values that is a number we can hold.
func firstNumber(values ...[]byte) *uint32 {
	for _, value := range values {
		if n, ok := parseUint32(value); ok {
			return &n
		}
	}
	return nil
}
