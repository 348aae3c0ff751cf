// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// Action is something that can be done with a mail.
type Action string

// The actions. The first three are offered with a notification, the others undo
// them.
const (
	// Read sets \Seen.
	Read Action = "read"
	// Archive moves the mail to the archive.
	Archive Action = "archive"
	// Trash moves it to the trash.
	Trash Action = "trash"
	// Unread removes \Seen.
	Unread Action = "unread"
	// Restore moves it back.
	Restore Action = "restore"
)

// Offered are those that an operator can choose.
var Offered = []Action{Read, Archive, Trash}

// All are all of them.
var All = []Action{Read, Archive, Trash, Unread, Restore}

// tokenSize is how much of the HMAC is a token, in bytes.
const tokenSize = 16

// Ticket permits one device of one user to do one thing with one mail, once, for a
// while.
type Ticket struct {
	User   string `json:"user"`
	Device string `json:"device"`
	Action Action `json:"action"`
	// Where the mail is.
	Folder      string `json:"folder"`
	UIDValidity uint32 `json:"uidValidity"`
	UID         uint32 `json:"uid"`
	// To is where [Restore] moves it to.
	To string `json:"to,omitempty"`
	// Expires is in seconds since 1970.
	Expires int64 `json:"expires"`
	// Token is the proof that all of this was written here.
	Token string `json:"token"`
}

// sign sets the token.
func (t *Ticket) sign(key []byte) { t.Token = t.tokenOf(key) }

// authentic reports whether the token is the right one.
func (t *Ticket) authentic(key []byte) bool {
	return hmac.Equal([]byte(t.Token), []byte(t.tokenOf(key)))
}

// tokenOf has a length before each text, so that no two tickets are the same bytes.
func (t *Ticket) tokenOf(key []byte) string {
	mac := hmac.New(sha256.New, key)
	number := func(n uint64) {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], n)
		mac.Write(b[:])
	}
	for _, text := range []string{"dovecot_push action 1", t.User, t.Device, string(t.Action), t.Folder, t.To} {
		number(uint64(len(text)))
		mac.Write([]byte(text))
	}
	number(uint64(t.UIDValidity))
	number(uint64(t.UID))
	number(uint64(t.Expires))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:tokenSize])
}

func (t *Ticket) expired(now time.Time) bool { return now.Unix() >= t.Expires }
