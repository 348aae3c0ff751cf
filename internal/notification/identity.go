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

// For how long another notification with the same [Identity] counts as a
// repetition. Dovecot repeats a request that got no answer in time byte for byte,
// including its Date.
const (
	// KnownUIDWindow applies when the UID is known. IMAP never assigns a UID
	// twice, so it only has to be long enough: Dovecot 2.4.0 to 2.4.3 waits 60
	// seconds for an answer by default.
	KnownUIDWindow = 2 * time.Minute

	// UnknownUIDWindow applies when the UID is 0. It is short, because then two
	// mails of the same second with the same From, Subject, beginning and number
	// of unseen messages look the same. By default, Dovecot makes two attempts
	// of 2 seconds.
	UnknownUIDWindow = 10 * time.Second
)

// Identity tells notifications apart: the first 128 bits of a SHA-256. It is
// stable from version to version. It holds no secret and is not used as one.
type Identity [16]byte

// String returns the identity as 32 hexadecimal digits in lower case.
func (id Identity) String() string {
	return hex.EncodeToString(id[:])
}

// Identity returns what a repetition of the notification is recognized by, and for
// how long. body and date are the body it was decoded from and the Date header of
// the request, unchanged. They matter only if UID is 0, or if the event can happen
// to a message more than once, as all but [MessageNew] can.
//
// If they matter and date is empty, a repetition cannot be told from another mail
// that looks the same, and counts as another one: window is 0 and the identity
// differs from all others, including that of the next call. So call it once and
// keep the result.
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

// appendText appends text behind its length, so that no two lists of texts become
// the same bytes.
func appendText(key []byte, text string) []byte {
	key = binary.BigEndian.AppendUint32(key, uint32(len(text)))
	return append(key, text...)
}

// Mailbox is the same for all notifications of one user, folder and UIDVALIDITY:
// 64 bits of a SHA-256, never 0. It is stable from version to version.
//
// New messages of a folder share one: the newest of several may stand for all.
// Later events of a message have one of their own, because they stand for no
// other message.
type Mailbox uint64

// Mailbox returns the user and folder of the notification in this form.
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
