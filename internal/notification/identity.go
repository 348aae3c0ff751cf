// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// How long after a notification one of the same [Identity] is the same one come
// again. Dovecot sends a request again, to the byte, its Date included, when it
// got no answer in time.
const (
	// KnownUIDWindow applies when the UID is known. IMAP never gives a UID
	// twice, so it only has to be long enough: Dovecot 2.4.0 to 2.4.3 waits 60
	// seconds for an answer unless told otherwise.
	KnownUIDWindow = 2 * time.Minute

	// UnknownUIDWindow applies when the UID is 0. It is kept short, because two
	// mails of the same second with the same From, Subject, beginning and count
	// of unseen messages look the same then. With its defaults Dovecot makes
	// two attempts of 2 seconds.
	UnknownUIDWindow = 10 * time.Second
)

// Identity tells notifications apart: the first 128 bits of a SHA-256. It is
// stable from version to version, and no secret is in it or made by it.
type Identity [16]byte

// String returns the identity as 32 hexadecimal digits in lower case.
func (id Identity) String() string {
	return hex.EncodeToString(id[:])
}

// Identity returns by what the notification is known when it comes again, and
// for how long. body and date are the body it was decoded from and the Date
// header of the request, as they came; they only matter if UID is 0, or the
// event is one that a message can meet again, as all but [MessageNew] are.
//
// If they matter and date is empty nothing tells a repetition from another mail
// that looks the same, so it is taken for another one: window is 0 and the
// identity differs from every other, that of the next call included. Callers
// therefore ask once and keep the answer.
func (n *Notification) Identity(body []byte, date string) (id Identity, window time.Duration) {
	var buf [256]byte
	key := appendText(buf[:0], n.User)
	key = appendText(key, n.Folder)
	key = appendText(key, string(n.Event))
	key = binary.BigEndian.AppendUint32(key, n.UIDValidity)
	key = binary.BigEndian.AppendUint32(key, n.UID)
	switch {
	case n.UID != 0 && n.Event == MessageNew:
		window = KnownUIDWindow
	case date != "":
		window = UnknownUIDWindow
		sum := sha256.Sum256(body)
		key = append(key, sum[:]...)
		key = appendText(key, date)
	default:
		key = append(key, rand.Text()...)
	}
	sum := sha256.Sum256(key)
	return Identity(sum[:len(id)]), window
}

// appendText appends text with its length before it, so that no two lists of
// texts give the same bytes.
func appendText(key []byte, text string) []byte {
	key = binary.BigEndian.AppendUint32(key, uint32(len(text)))
	return append(key, text...)
}

// Mailbox tells which notifications are for the same user and folder, of the
// same UIDVALIDITY: 64 bits of a SHA-256, never 0. It is stable from version
// to version.
//
// New messages of a folder share one: of several the newest may stand for all.
// What happens to a message later has one for each message, because it stands
// for no other one.
type Mailbox uint64

// Mailbox returns for which user and folder the notification is.
func (n *Notification) Mailbox() Mailbox {
	var buf [256]byte
	key := appendText(buf[:0], n.User)
	key = appendText(key, n.Folder)
	key = binary.BigEndian.AppendUint32(key, n.UIDValidity)
	if n.Event != MessageNew {
		key = binary.BigEndian.AppendUint32(key, n.UID)
	}
	sum := sha256.Sum256(key)
	return max(Mailbox(binary.BigEndian.Uint64(sum[:])), 1)
}
