// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// writeInterval is how long what was accepted waits to be written to the
	// journal, and so stays in the queue at least.
	writeInterval = time.Second
	// maxEntry bounds one entry of the journal, in bytes.
	maxEntry = 256 << 10
	// compactAt is how many times the marks may be in the journal, beside
	// slack bytes, until they are written once and the rest is dropped.
	compactAt = 3
	slack     = 1 << 20
	// retryPause is how long reading and writing wait after a failure.
	retryPause = time.Second
	// lastWriteTimeout bounds writing what is not written while stopping.
	lastWriteTimeout = 5 * time.Second
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

// sync returns when what the marks say now is in the journal. It is called while
// run runs.
func (b *book) sync(ctx context.Context) error {
	written := make(chan error, 1)
	select {
	case b.writeNow <- written:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-written:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// load reads the journal.
func (b *book) load(ctx context.Context) (err error) {
	damaged := 0
	b.at, err = b.journal.Read(ctx, func(data []byte) {
		b.size += len(data)
		if err := parseEntry(data, b.set); err != nil {
			damaged++
		}
	})
	if err != nil {
		return err
	}
	if damaged > 0 {
		b.log.Error("entries of the catch-up's journal cannot be read: what they say is taken as not accepted", "entries", damaged)
	}
	b.read = b.at.Covers
	first, _, err := b.journal.Kept(ctx)
	if err != nil || first <= b.at.Covers+1 {
		return err
	}
	if b.at.Entry == 0 { // nothing is known yet
		b.read = first - 1
		return nil
	}
	// Nobody kept the journal for a while, and what was accepted then is not
	// known.
	if b.at.Covers > 0 {
		b.log.Warn("the catch-up starts again: notifications were accepted while it was off, or could not be noted")
	}
	if err := b.journal.DropBefore(ctx, b.at.Entry+1); err != nil {
		return err
	}
	b.marks, b.size = make(map[notification.Mailbox]*mark), 0
	b.at.Covers, b.read = first-1, first-1
	return nil
}

func (b *book) set(mailbox notification.Mailbox, m *mark) {
	if m == nil {
		delete(b.marks, mailbox)
		return
	}
	b.marks[mailbox] = m
}

// run reads what is accepted and writes the journal, until ctx ends or somebody
// else writes it ([queue.ErrChanged]).
func (b *book) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var reading sync.WaitGroup
	reading.Go(func() { b.follow(ctx, cancel) })
	defer reading.Wait()
	tick := time.NewTicker(writeInterval)
	defer tick.Stop()
	failing := false
	for {
		var waits chan error
		select {
		case <-ctx.Done():
			last, done := context.WithTimeout(context.WithoutCancel(ctx), lastWriteTimeout)
			defer done()
			if err := b.write(last); err != nil {
				b.log.Debug("what was accepted last is read from the queue by the next start", "error", err)
			}
			return context.Cause(ctx)
		case <-tick.C:
		case waits = <-b.writeNow:
		}
		err := b.write(ctx)
		if waits != nil {
			waits <- err
		}
		switch {
		case errors.Is(err, queue.ErrChanged):
			cancel(err)
			return err
		case err != nil && ctx.Err() == nil && !failing:
			failing = true
			b.log.Warn("the journal of the catch-up cannot be written: the queue keeps what is not in it", "error", err)
		case err == nil:
			failing = false
		}
	}
}

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

// write writes what changed to the journal. Only the last entry of several
// covers what was read: until it is there, it is read again.
func (b *book) write(ctx context.Context) error {
	b.mu.Lock()
	covers := b.read
	if len(b.dirty) == 0 && covers == b.at.Covers {
		b.mu.Unlock()
		return nil
	}
	dirty := b.dirty
	b.dirty = make(map[notification.Mailbox]struct{})
	entries := b.encode(maps.Keys(dirty))
	b.mu.Unlock()
	err := b.append(ctx, entries, covers)
	if err != nil {
		b.stain(dirty)
		return err
	}
	return b.compact(ctx)
}

// stain notes that marks are not written after all.
func (b *book) stain(dirty map[notification.Mailbox]struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.Copy(b.dirty, dirty)
}

// encode makes entries of marks. b.mu is held.
func (b *book) encode(mailboxes func(func(notification.Mailbox) bool)) [][]byte {
	entries := [][]byte{{entryVersion}}
	for mailbox := range mailboxes {
		last := &entries[len(entries)-1]
		*last = appendMark(*last, mailbox, b.marks[mailbox])
		if len(*last) > maxEntry {
			entries = append(entries, []byte{entryVersion})
		}
	}
	return entries
}

func (b *book) append(ctx context.Context, entries [][]byte, covers uint64) error {
	for i, entry := range entries {
		upTo := b.at.Covers
		if i == len(entries)-1 {
			upTo = covers
		}
		at, err := b.journal.Append(ctx, b.at.Entry, upTo, entry)
		if err != nil {
			return err
		}
		b.at = at
		b.size += len(entry)
	}
	return nil
}

// compact writes all marks once and drops what was written before, when that
// has become several times as much.
func (b *book) compact(ctx context.Context) error {
	b.mu.Lock()
	live := 24 * len(b.marks)
	if b.size < compactAt*live+slack {
		b.mu.Unlock()
		return nil
	}
	entries, covers := b.encode(maps.Keys(b.marks)), b.read
	dirty := b.dirty
	b.dirty = make(map[notification.Mailbox]struct{})
	b.mu.Unlock()
	first := b.at.Entry + 1
	if err := b.append(ctx, entries, covers); err != nil {
		b.stain(dirty)
		return err
	}
	if err := b.journal.DropBefore(ctx, first); err != nil {
		return err
	}
	b.size = 0
	for _, entry := range entries {
		b.size += len(entry)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
