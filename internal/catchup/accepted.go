// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// errGap means that notifications were removed from the queue before they were
// read. Which mails they were of is not known: [book.load] starts again.
var errGap = errors.New("notifications were removed from the queue before the catch-up had read them")

// follow reads what is accepted until ctx ends. It calls lose if it finds a gap.
func (b *book) follow(ctx context.Context, lose context.CancelCauseFunc) {
	for ctx.Err() == nil {
		first, last, err := b.journal.Kept(ctx)
		if err == nil {
			b.mu.Lock()
			if last < b.read { // the store has lost its end, and gives numbers out again
				b.read = first - 1
			}
			after := b.read
			b.mu.Unlock()
			if first > after+1 {
				lose(errGap)
				return
			}
			err = b.journal.Accepted(ctx, after, func(number uint64, records []queue.Record) {
				if ctx.Err() == nil && !b.lacks(ctx, number, lose) {
					b.fold(number, records)
				}
			})
		}
		if ctx.Err() == nil {
			b.log.Debug("reading what was accepted begins again", "error", err)
			pause(ctx, retryPause)
		}
	}
}

// lacks reports whether groups before number were removed unread. One that is
// damaged may be missing as well; that is no gap.
func (b *book) lacks(ctx context.Context, number uint64, lose context.CancelCauseFunc) bool {
	b.mu.Lock()
	read := b.read
	b.mu.Unlock()
	if number <= read+1 {
		return false
	}
	first, _, err := b.journal.Kept(ctx)
	if err == nil && first <= read+1 {
		return false
	}
	lose(errGap)
	return true
}

// fold notes a group of accepted notifications.
func (b *book) fold(number uint64, records []queue.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range records {
		b.note(&records[i])
	}
	b.read = number
	close(b.folded)
	b.folded = make(chan struct{})
}

// note notes one notification. Its body is read only if it can be of a mailbox
// that is not known.
func (b *book) note(r *queue.Record) {
	m := b.marks[r.Mailbox]
	mailbox := r.Mailbox
	if m == nil || r.UID == 0 || mailbox == 0 {
		n, err := notification.Identify(r.Body, nil)
		if err != nil || n.Event != notification.MessageNew || n.Folder != inbox {
			return
		}
		mailbox = n.Mailbox()
		if m = b.marks[mailbox]; m == nil {
			m = new(mark)
			b.marks[mailbox] = m
		}
		r.UID = n.UID
	}
	b.dirty[mailbox] = struct{}{}
	at := seconds(r.Accepted)
	if r.Source == notification.CatchUp {
		m.found = max(m.found, at)
	} else {
		m.reported = max(m.reported, at)
	}
	if r.UID != 0 {
		m.accept(r.UID)
		return
	}
	if n, err := b.decoder.Decode(r.Body); err == nil {
		m.acceptNameless(nameless{headersOf(n), binary.BigEndian.Uint32(r.ID[:]), at})
	}
}

// current waits until the marks have everything that was accepted before the
// call, by any instance that shares the store.
func (b *book) current(ctx context.Context) error {
	first, end, err := b.journal.Kept(ctx)
	if err != nil {
		return err
	}
	for end >= first {
		b.mu.Lock()
		read, folded := b.read, b.folded
		b.mu.Unlock()
		if read >= end {
			return nil
		}
		select {
		case <-folded:
		case <-ctx.Done():
			return fmt.Errorf("reading what was accepted: %w", context.Cause(ctx))
		}
	}
	return nil
}
