// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"errors"
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
	// lastWriteTimeout bounds writing what is not written while stopping.
	lastWriteTimeout = 5 * time.Second
)

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
