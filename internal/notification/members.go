// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"bytes"
	"fmt"
	"unicode"
)

// The names of the members that identify a notification. The others only describe
// it.
const (
	nameUser        = "user"
	nameEvent       = "event"
	nameFolder      = "folder"
	nameUIDValidity = "imap-uidvalidity"
	nameUID         = "imap-uid"
)

// nameOldFolder is the name that a renamed mailbox had before.
const nameOldFolder = "old-folder"

// maxMemberName is longer than any name we look for.
const maxMemberName = 32

// members are the values of one body as they are written there, nil if absent.
// Names are those that Dovecot writes, exactly: "User" is none of them.
type members struct {
	user, event, folder, uidValidity, uid  []byte
	from, subject, snippet, unseen, unread []byte
	oldFolder, flags                       []byte

	// repeated is the name of an identifying member that occurs twice. Nobody
	// knows which of the two another reader of the same body takes (RFC 8259,
	// section 4).
	repeated string

	// stray is the position of the quote that [scanner.skipStrayQuote] skips; 0
	// if there is none.
	stray int
}

// set keeps a value. It returns the name if it is that of an identifying member.
func (m *members) set(name, value []byte) string {
	if bytes.IndexByte(name, '\\') >= 0 {
		name, _ = unescape(nil, name, maxMemberName)
	}
	switch string(name) {
	case nameUser:
		return m.decide(nameUser, &m.user, value)
	case nameEvent:
		return m.decide(nameEvent, &m.event, value)
	case nameFolder:
		return m.decide(nameFolder, &m.folder, value)
	case nameUIDValidity:
		return m.decide(nameUIDValidity, &m.uidValidity, value)
	case nameUID:
		return m.decide(nameUID, &m.uid, value)
	case "from":
		m.from = value
	case "subject":
		m.subject = value
	case "snippet":
		m.snippet = value
	case nameOldFolder:
		m.oldFolder = value
	case "flags":
		m.flags = value
	case "unseen":
		m.unseen = value
	case "unread": // the name that Open-Xchange reads for the same number
		m.unread = value
	}
	return ""
}

func (m *members) decide(name string, member *[]byte, value []byte) string {
	if *member != nil {
		m.repeated = name
	}
	*member = value
	return name
}

// unquote returns what stands between the quotes if value is a string.
func unquote(value []byte) (inner []byte, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return nil, false
	}
	return value[1 : len(value)-1], true
}

// absent reports whether a member is missing or null.
func absent(value []byte) bool {
	return len(value) == 0 || value[0] == 'n'
}

// parseName returns the value of a member that names a user or a folder, of up
// to limit bytes. Nothing in it may be replaced or cut: that would be another name.
func parseName(name string, value []byte, limit int) (string, error) {
	if absent(value) {
		return "", &FieldError{Field: name, Problem: "is missing"}
	}
	var buf [128]byte
	inner, ok := unquote(value)
	parsed, exact := unescape(buf[:0], inner, limit+1)
	if !ok || !exact || len(parsed) == 0 || len(parsed) > limit || bytes.ContainsFunc(parsed, unicode.IsControl) {
		return "", &FieldError{Field: name, Problem: fmt.Sprintf("must be a string of 1 to %d bytes of UTF-8 without control characters", limit)}
	}
	return string(parsed), nil
}

// parseNumber returns the value of a member that is a number of IMAP (RFC 9051:
// nz-number, or 0 for unknown).
func parseNumber(name string, value []byte) (uint32, error) {
	if absent(value) {
		return 0, &FieldError{Field: name, Problem: "is missing"}
	}
	n, ok := parseUint32(value)
	if !ok {
		return 0, &FieldError{Field: name, Problem: "must be an integer from 0 to 4294967295"}
	}
	return n, nil
}

// parseUint32 is strconv.ParseUint for bytes: the scanner left nothing but the
// range and the kind of number to look at.
func parseUint32(value []byte) (uint32, bool) {
	const maxDigits = len("4294967295")
	if len(value) == 0 || len(value) > maxDigits {
		return 0, false
	}
	var n uint64
	for _, c := range value {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return uint32(n), n <= 1<<32-1
}
