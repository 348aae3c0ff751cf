// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// headerCovers is up to which group of accepted notifications an entry of a
// journal knows.
const headerCovers = "Dovecot-Push-Covers"

// readAhead bounds how many groups are on their way to the reader of a journal.
const readAhead = 32

// Journal is what somebody remembers of everything that is accepted. Its
// entries say up to which group of accepted notifications they know, and where
// [Config.Journals] has it the queue removes no group that it does not cover:
// reading the entries, and then the groups after the last one covered, gives the
// same after a crash as before it. Only a full queue whose journal has not been
// written for a minute does: [Journal.Kept] then begins behind what is covered.
//
// Only one at a time can write, because each write names the entry before it.
// All methods are safe for concurrent use.
type Journal struct{ log *Log }

// Position is where a journal ends.
type Position struct {
	// Entry is the number of its last entry, 0 if there is none.
	Entry uint64
	// Covers is the number of the last group that it knows of.
	Covers uint64
}

// Journal returns the journal with the given name (see [ValidName]). The same
// name gives the same entries.
func (q *Queue) Journal(name string) *Journal {
	return &Journal{log: q.Log(name, LogLimits{Bytes: -1})}
}

// Append adds an entry after the one at last, and returns where the journal
// ends then. It returns when that is as durable as an accepted notification.
// Errors: [ErrChanged] if there is another entry after last, written by
// somebody else.
func (j *Journal) Append(ctx context.Context, last, covers uint64, data []byte) (Position, error) {
	l := j.log
	l.q.change.RLock()
	defer l.q.change.RUnlock()
	if err := l.open(ctx); err != nil {
		return Position{}, err
	}
	// Where the store syncs at intervals, what is covered must not get lost
	// when the entry does not.
	if err := l.q.persist(l.q.names.stream); err != nil {
		return Position{}, err
	}
	write, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	defer context.AfterFunc(l.q.available.context(), cancel)()
	msg := &nats.Msg{Subject: l.subject, Data: data, Header: nats.Header{headerCovers: {strconv.FormatUint(covers, 10)}}}
	ack, err := l.q.js().PublishMsg(write, msg, jetstream.WithExpectStream(l.stream),
		jetstream.WithExpectLastSequence(last), jetstream.WithRetryAttempts(0))
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return Position{}, ErrChanged
	}
	if err != nil {
		l.forget()
		return Position{}, storeError(err)
	}
	return Position{Entry: ack.Sequence, Covers: covers}, nil
}

// Read calls seen with each entry, the oldest first, and returns where the
// journal ends.
func (j *Journal) Read(ctx context.Context, seen func(data []byte)) (Position, error) {
	l := j.log
	l.q.change.RLock()
	err := l.open(ctx)
	var at, end Position
	empty := false
	if err == nil {
		end, empty, err = j.last(ctx)
	}
	l.q.change.RUnlock()
	if err != nil || empty {
		return end, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var bad error
	err = l.follow(ctx, func(LogState) uint64 { return 0 }, func(entry LogEntry, header nats.Header) {
		if at.Entry >= end.Entry {
			return
		}
		at.Entry = entry.Seq
		if at.Covers, bad = coversOf(header); bad != nil {
			cancel()
			return
		}
		seen(entry.Data)
		if at.Entry >= end.Entry {
			cancel()
		}
	}, func() {})
	switch {
	case bad != nil:
		return at, bad
	case at.Entry < end.Entry:
		return at, err
	}
	return at, nil
}

// last asks the store where the journal ends, and whether it has an entry.
// q.change is held.
func (j *Journal) last(ctx context.Context) (at Position, empty bool, err error) {
	stream, err := j.log.q.js().Stream(ctx, j.log.stream)
	if err != nil {
		j.log.forget()
		return Position{}, false, storeError(err)
	}
	msg, err := stream.GetLastMsgForSubject(ctx, j.log.subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Position{Entry: stream.CachedInfo().State.LastSeq}, true, nil
	}
	if err != nil {
		return Position{}, false, storeError(err)
	}
	covers, err := coversOf(msg.Header)
	return Position{Entry: msg.Sequence, Covers: covers}, false, err
}

func coversOf(header nats.Header) (uint64, error) {
	covers, err := strconv.ParseUint(header.Get(headerCovers), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("an entry of the journal does not tell what it covers: %w", err)
	}
	return covers, nil
}

// DropBefore removes the entries before the one with the given number.
func (j *Journal) DropBefore(ctx context.Context, entry uint64) error {
	l := j.log
	l.q.change.RLock()
	defer l.q.change.RUnlock()
	if err := l.open(ctx); err != nil {
		return err
	}
	stream, err := l.q.js().Stream(ctx, l.stream)
	if err != nil {
		return storeError(err)
	}
	return storeError(stream.Purge(ctx, jetstream.WithPurgeSequence(entry)))
}

// Accepted calls seen with each group of accepted notifications after the one
// with the given number, in their order, until ctx ends or the store fails. It
// returns an error in any case; the caller calls it again from where it is.
// Groups that cannot be read have no records.
func (j *Journal) Accepted(ctx context.Context, after uint64, seen func(number uint64, records []Record)) error {
	q := j.log.q
	q.change.RLock()
	up := q.available.context()
	iter, err := q.acceptedAfter(ctx, after)
	q.change.RUnlock()
	if err != nil {
		return err
	}
	defer iter.Stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(up, cancel)()
	for last := uint64(0); ; {
		msg, err := iter.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("%w: reading what was accepted: %w", ErrUnavailable, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("%w: reading what was accepted: %w", ErrUnavailable, err)
		}
		if last++; meta.Sequence.Consumer != last {
			return fmt.Errorf("%w: something that was accepted got lost on its way to the reader", ErrUnavailable)
		}
		records, err := parseGroup(msg.Data())
		if err != nil { // a target finds it as well, and says so
			records = nil
		}
		seen(meta.Sequence.Stream, records)
	}
}

// acceptedAfter begins to read. q.change is held.
func (q *Queue) acceptedAfter(ctx context.Context, after uint64) (jetstream.MessagesContext, error) {
	if !q.isReady() {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, errNotReady)
	}
	stream, err := q.js().Stream(ctx, q.names.stream)
	if err != nil {
		return nil, storeError(err)
	}
	cons, err := stream.CreateConsumer(ctx, readerConfig(after))
	if err != nil {
		return nil, storeError(err)
	}
	iter, err := cons.Messages(jetstream.PullMaxMessages(readAhead))
	if err != nil {
		return nil, storeError(err)
	}
	return iter, nil
}

// Kept asks the store for the numbers of the first and the last group that it
// keeps. last is one less than first where it keeps none.
func (j *Journal) Kept(ctx context.Context) (first, last uint64, err error) {
	q := j.log.q
	q.change.RLock()
	defer q.change.RUnlock()
	if !q.isReady() {
		return 0, 0, fmt.Errorf("%w: %w", ErrUnavailable, errNotReady)
	}
	stream, err := q.js().Stream(ctx, q.names.stream)
	if err != nil {
		return 0, 0, storeError(err)
	}
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return state.LastSeq + 1, state.LastSeq, nil
	}
	return state.FirstSeq, state.LastSeq, nil
}

// journalPatience is how long a journal may not be written while it keeps groups.
const journalPatience = time.Minute

// journals are those of [Config.Journals].
type journals struct {
	mu   sync.Mutex
	kept []*Journal
	// upTo is what they cover, and since is when that changed last while they
	// kept something.
	upTo  uint64
	since time.Time
}

// areStuck reports whether they have covered the same for longer than
// journalPatience, although there is more to cover.
func (k *journals) areStuck(covered, wanted uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if covered >= wanted || covered != k.upTo || k.since.IsZero() {
		k.upTo, k.since = covered, time.Now()
	}
	return time.Since(k.since) > journalPatience
}

// keep makes them those with the given names.
func (k *journals) keep(q *Queue, names []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = nil
	for _, name := range names {
		k.kept = append(k.kept, q.Journal(name))
	}
}

// covered is up to which group all journals know; everything without one. It is 0
// if that cannot be read.
func (k *journals) covered(ctx context.Context) (upTo uint64, err error) {
	k.mu.Lock()
	kept := slices.Clone(k.kept)
	k.mu.Unlock()
	upTo = math.MaxUint64
	for _, j := range kept {
		if err := j.log.open(ctx); err != nil {
			return 0, err
		}
		last, _, err := j.last(ctx)
		if err != nil {
			return 0, err
		}
		upTo = min(upTo, last.Covers)
	}
	return upTo, nil
}
