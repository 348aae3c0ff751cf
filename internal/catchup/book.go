// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"log/slog"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// book has the marks of all mailboxes, as the journal and the queue have them
// together. It is made by the one who has the lease.
type book struct {
	journal *queue.Journal
	decoder *notification.Decoder
	log     *slog.Logger

	mu    sync.Mutex
	marks map[notification.Mailbox]*mark
	// dirty are the mailboxes whose marks are not written yet.
	dirty map[notification.Mailbox]struct{}
	// read is the number of the last group that the marks have; folded is
	// closed and replaced when it grows.
	read   uint64
	folded chan struct{}

	writeNow chan chan error

	at   queue.Position // of the journal; of the writer alone
	size int            // of what is in the journal, in bytes
}

func newBook(journal *queue.Journal, decoder *notification.Decoder, log *slog.Logger) *book {
	return &book{
		journal: journal, decoder: decoder, log: log,
		marks: make(map[notification.Mailbox]*mark), dirty: make(map[notification.Mailbox]struct{}),
		folded: make(chan struct{}), writeNow: make(chan chan error),
	}
}

func (b *book) set(mailbox notification.Mailbox, m *mark) {
	if m == nil {
		delete(b.marks, mailbox)
		return
	}
	b.marks[mailbox] = m
}

// with lets f look at the mark of a mailbox, nil if there is none. What f returns
// is the mark from then on, nil if nothing changed.
func (b *book) with(mailbox notification.Mailbox, f func(*mark) *mark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := f(b.marks[mailbox]); m != nil {
		b.marks[mailbox] = m
		b.dirty[mailbox] = struct{}{}
	}
}

// find returns the name under which a user is reported, out of those that are
// possible, and the mailbox of that name. Without a mark it is the first.
func (b *book) find(names []string, uidValidity uint32) (name string, mailbox notification.Mailbox) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, candidate := range names {
		n := notification.Notification{User: candidate, Folder: inbox, UIDValidity: uidValidity, Event: notification.MessageNew}
		key := n.Mailbox()
		if b.marks[key] != nil {
			return candidate, key
		}
		if i == 0 {
			name, mailbox = candidate, key
		}
	}
	return name, mailbox
}

// forget removes the marks that a sweep over all mailboxes has not found in use,
// and that nothing was accepted for since the given time.
func (b *book) forget(sweep uint32, since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit := seconds(since)
	for mailbox, m := range b.marks {
		if m.swept != sweep && m.touched() < limit {
			delete(b.marks, mailbox)
			b.dirty[mailbox] = struct{}{}
		}
	}
}
