// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

const (
	// maxGaps bounds how many gaps of a mailbox are remembered, the newest.
	// What is in an older one counts as told: more than so many mails of one
	// user that were missed in between are more than are ever told.
	maxGaps = 512
	// maxNameless bounds how many notifications without UID are remembered.
	maxNameless = 256
)

// mark is what is known of one INBOX of one UIDVALIDITY.
type mark struct {
	// done is the UID up to which there is nothing left to tell, if based.
	done  uint32
	based bool
	// above are UIDs beyond it that were accepted.
	above spans
	// nameless are notifications that were accepted without a UID.
	nameless []nameless
	// reported and found are when a notification was last accepted from Dovecot
	// and from a sweep, in seconds.
	reported, found uint32
	// swept is the number of the sweep that found the mailbox in use last. It is
	// not stored.
	swept uint32
}

// nameless is a notification that Dovecot did not know the UID of. The sweep
// recognises the mail by its headers.
type nameless struct {
	headers uint32 // their hash
	id      uint32 // the beginning of its identity
	at      uint32 // when it was accepted, in seconds
}

// headersOf is a hash of what a notification and a mail that was fetched have in
// common.
func headersOf(n *notification.Notification) uint32 {
	sum := sha256.Sum256([]byte(n.From + "\x00" + n.Subject))
	return binary.BigEndian.Uint32(sum[:])
}

// accept notes that a notification of the UID was accepted. What was in the
// mailbox before the first one is none of ours.
func (m *mark) accept(uid uint32) {
	if !m.based {
		m.done, m.based = uid-1, true
	}
	if uid <= m.done {
		return
	}
	m.above = m.above.add(uid)
	m.advance()
	if len(m.above) > maxGaps {
		m.done = m.above[len(m.above)-maxGaps-1].last
		m.above = slices.Clone(m.above[len(m.above)-maxGaps:])
	}
}

// acceptNameless notes that one without a UID was.
func (m *mark) acceptNameless(n nameless) {
	if slices.Contains(m.nameless, n) {
		return
	}
	if len(m.nameless) >= maxNameless {
		m.nameless = slices.Delete(m.nameless, 0, 1)
	}
	m.nameless = append(m.nameless, n)
}

// recognize takes a notification without a UID off, if there is one for these
// headers.
func (m *mark) recognize(headers uint32) bool {
	i := slices.IndexFunc(m.nameless, func(n nameless) bool { return n.headers == headers })
	if i < 0 {
		return false
	}
	m.nameless = slices.Delete(m.nameless, i, i+1)
	return true
}

// advance moves done over what is above it without a gap.
func (m *mark) advance() {
	for len(m.above) > 0 && m.above[0].first <= m.done+1 {
		m.done = max(m.done, m.above[0].last)
		m.above = m.above[1:]
	}
	if len(m.above) == 0 {
		m.above = nil
	}
}

// has reports whether there is nothing left to tell about a UID.
func (m *mark) has(uid uint32) bool {
	return m.based && (uid <= m.done || len(m.above.without(uid, uid)) == 0)
}

// missing are the UIDs before next that were not accepted.
func (m *mark) missing(next uint32) spans {
	if !m.based || next <= m.done+1 {
		return nil
	}
	return m.above.without(m.done+1, next-1)
}

// settle notes that there is nothing left to tell before next, and reports
// whether that is news. Notifications without a UID that were accepted before
// the given time are of such mails.
func (m *mark) settle(next uint32, before time.Time) (changed bool) {
	if !m.based || next > m.done+1 {
		changed = true
		m.based = true
		m.done = max(m.done, next-1)
		for len(m.above) > 0 && m.above[0].last <= m.done {
			m.above = m.above[1:]
		}
		m.advance()
	}
	limit, had := seconds(before), len(m.nameless)
	m.nameless = slices.DeleteFunc(m.nameless, func(n nameless) bool { return n.at < limit })
	if len(m.nameless) == 0 {
		m.nameless = nil
	}
	return changed || len(m.nameless) != had
}

// touched is when something was accepted last.
func (m *mark) touched() uint32 { return max(m.reported, m.found) }

func seconds(t time.Time) uint32 { return uint32(max(t.Unix(), 0)) }
