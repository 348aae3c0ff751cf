// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// users is how many users get the mails that are notified of.
	users      = 10_000
	userDigits = "00000"
	uidDigits  = "0000000000"
	firstUID   = 1_000_000_000
	// mailsEach is how many UIDs a user has: they follow one another, as real ones
	// do.
	mailsEach = 100_000
)

// body is a notification as Dovecot sends it, of the usual size, with the
// digits to fill in.
const body = `{"user":"user` + userDigits + `@example.com","event":"messageNew","folder":"INBOX","imap-uidvalidity":1795452971,"imap-uid":` +
	uidDigits + `,"from":"Alice Example <alice@example.net>","subject":"Minutes of the meeting","snippet":"Hello, here are ` +
	`the minutes of our meeting of last week, please have a look before Friday.","unseen":1}`

// sent counts the notifications of a run of this program: none is like another.
var sent atomic.Uint32

// form is a text with body in it, in which the digits are filled in again and
// again.
type form struct {
	text      []byte
	user, uid []byte // parts of text
}

func newForm(text string) *form {
	f := &form{text: []byte(text)}
	part := func(before, digits string) []byte {
		at := bytes.Index(f.text, []byte(before+digits)) + len(before)
		return f.text[at : at+len(digits)]
	}
	f.user, f.uid = part(`"user":"user`, userDigits), part(`"imap-uid":`, uidDigits)
	return f
}

// next makes it another notification, which was sent now.
func (f *form) next() {
	n := uint64(sent.Add(1))
	sentAt[n%uint64(len(sentAt))].Store(time.Now().UnixNano())
	var digits [10]byte
	copy(f.user, strconv.AppendUint(digits[:0], 10_000+n%users, 10))
	copy(f.uid, strconv.AppendUint(digits[:0], firstUID+n%users*mailsEach+n/users, 10))
}

// sentAt is when the last notifications were sent, in Unix nanoseconds, by
// their number.
var sentAt [1 << 20]atomic.Int64

// sinceSent is how long ago the notification with that UID was sent. Of those
// that were sent too long ago it is not known.
func sinceSent(uid uint64) (age time.Duration, known bool) {
	n := (uid-firstUID)%mailsEach*users + (uid-firstUID)/mailsEach
	if last := uint64(sent.Load()); n > last || last-n >= uint64(len(sentAt)) {
		return 0, false
	}
	return time.Duration(time.Now().UnixNano() - sentAt[n%uint64(len(sentAt))].Load()), true
}
