// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// Bounds of [Held], for each device.
const (
	// MaxHeld is how many mails are counted.
	MaxHeld = 100
	// MaxHeldSize bounds the names of their senders and folders together, and
	// MaxHeldName that of one sender, in bytes.
	MaxHeldSize = 3 << 10
	MaxHeldName = 48
)

// Held is what a device was not notified of while it was quiet or muted. One summary
// says it when that is over. It is never written to once it is in a [Subscription].
type Held struct {
	// Mails are those that were not read meanwhile, as far as that is known, in
	// the order in which they came.
	Mails []HeldMail `json:"mails,omitempty"`
	// More is whether there were more than are counted.
	More bool `json:"more,omitempty"`
	// Withdrawn is whether mails of which the device may have been notified before
	// were read or deleted elsewhere.
	Withdrawn bool `json:"withdrawn,omitempty"`
	// Unseen is the number of unseen mails of the INBOX, nil if it is not known.
	Unseen *uint32 `json:"unseen,omitempty"`
	// Changed is when it was last written.
	Changed time.Time `json:"changed"`
	// Claimed is when an instance took over to have the summary sent, or zero.
	Claimed time.Time `json:"claimed,omitzero"`
}

// HeldMail is one mail.
type HeldMail struct {
	// Folder is empty for the INBOX.
	Folder      string `json:"folder,omitempty"`
	UIDValidity uint32 `json:"uidValidity,omitempty"`
	// UID is 0 if it is not known. The mail may then be counted twice.
	UID uint32 `json:"uid,omitempty"`
	// From is the name of the sender, for people to read. It is empty if the
	// device does not get it.
	From string `json:"from,omitempty"`
}

// NewHeldMail returns the mail of a notification. from is empty if the device does
// not get it.
func NewHeldMail(n *notification.Notification, from string) HeldMail {
	m := HeldMail{Folder: n.Folder, UIDValidity: n.UIDValidity, UID: n.UID, From: cutName(notification.SenderName(from))}
	if sameFolder(m.Folder, "INBOX") {
		m.Folder = ""
	}
	return m
}

// cutName cuts a name between two characters.
func cutName(name string) string {
	if len(name) <= MaxHeldName {
		return strings.Clone(name)
	}
	end := MaxHeldName
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return strings.Clone(strings.TrimSpace(name[:end]))
}

func (m *HeldMail) is(other *HeldMail) bool {
	return m.Folder == other.Folder && m.UIDValidity == other.UIDValidity && m.UID == other.UID
}

// clone returns a copy that may be changed; of nil, one that is empty.
func (h *Held) clone() *Held {
	if h == nil {
		return new(Held)
	}
	c := *h
	c.Mails = slices.Clone(h.Mails)
	return &c
}

// orNil returns h, or nil if nothing is held.
func (h *Held) orNil() *Held {
	if len(h.Mails) == 0 && !h.More && !h.Withdrawn {
		return nil
	}
	return h
}

func (h *Held) index(m *HeldMail) int {
	if m.UID == 0 {
		return -1
	}
	return slices.IndexFunc(h.Mails, func(other HeldMail) bool { return other.is(m) })
}

// full reports whether a mail is no longer counted.
func (h *Held) full(m *HeldMail) bool {
	size := len(m.Folder) + len(m.From)
	for i := range h.Mails {
		size += len(h.Mails[i].Folder) + len(h.Mails[i].From)
	}
	return len(h.Mails) >= MaxHeld || size > MaxHeldSize
}

// arrived adds a mail, with the number of unseen mails then.
func (h *Held) arrived(m HeldMail, unseen *uint32) {
	if h.index(&m) >= 0 {
		return // the queue has delivered it again
	}
	newest := m.UID != 0 && !slices.ContainsFunc(h.Mails, func(other HeldMail) bool {
		return other.Folder == m.Folder && other.UIDValidity == m.UIDValidity && other.UID > m.UID
	})
	if h.full(&m) {
		h.More = true
	} else {
		h.Mails = append(h.Mails, m)
	}
	if newest { // of others, the number may be older
		h.counted(&m, unseen)
	}
}

// withdrawn removes a mail that was read or deleted elsewhere, with the number of
// unseen mails then.
func (h *Held) withdrawn(m HeldMail, unseen *uint32) {
	if i := h.index(&m); i >= 0 {
		h.Mails = slices.Delete(h.Mails, i, i+1)
	} else {
		h.Withdrawn = true
	}
	h.counted(&m, unseen)
}

// counted takes the number of unseen mails in the folder of a mail, which includes
// those that are held. What exceeds it was read: the oldest, in all probability.
func (h *Held) counted(m *HeldMail, unseen *uint32) {
	if m.Folder == "" && unseen != nil {
		h.limit(*unseen)
	}
}

func (h *Held) limit(unseen uint32) {
	h.Unseen = &unseen
	inbox := 0
	for i := range h.Mails {
		if h.Mails[i].Folder == "" {
			inbox++
		}
	}
	if inbox <= int(unseen) {
		return
	}
	h.More, h.Withdrawn = false, true
	read := inbox - int(unseen)
	h.Mails = slices.DeleteFunc(h.Mails, func(m HeldMail) bool {
		if m.Folder != "" || read == 0 {
			return false
		}
		read--
		return true
	})
}

// without returns what is left when the device has been notified of sent, or nil.
func (h *Held) without(sent *Held) *Held {
	if h == nil {
		return nil
	}
	left := h.clone()
	for _, m := range sent.Mails {
		if i := slices.Index(left.Mails, m); i >= 0 {
			left.Mails = slices.Delete(left.Mails, i, i+1)
		}
	}
	left.More, left.Withdrawn, left.Claimed = left.More && !sent.More, left.Withdrawn && !sent.Withdrawn, time.Time{}
	return left.orNil()
}

// Senders returns the names of the last senders, the newest first, at most so many,
// and how many others there are.
func (h *Held) Senders(most int) (names []string, others int) {
	for _, m := range slices.Backward(h.Mails) {
		if m.From != "" && !slices.Contains(names, m.From) {
			names = append(names, m.From)
		}
	}
	others = max(len(names)-most, 0)
	return names[:len(names)-others], others
}
