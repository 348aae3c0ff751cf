// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/recent"
)

const (
	// headerIDs has what tells duplicates of a group's notifications, see
	// appendID.
	headerIDs = "Dovecot-Push-Ids"
	// idSize is how many bytes an entry of it has.
	idSize = len(notification.Identity{}) + 2
	// awaitShared is how long readers wait for the header of a group, which comes at
	// the same time unless the server was lost that sends it.
	awaitShared = 3 * time.Second
	// maxOneByOne is how many groups are read one by one. More come sooner from a
	// consumer.
	maxOneByOne = 4096
	// followPause is how long nobody follows after an error.
	followPause = 250 * time.Millisecond
)

// idEncoding is that of headerIDs.
var idEncoding = base64.RawStdEncoding

// shared recognizes duplicates that came to several of those who share a store.
// Each of them follows the headers of all groups. Their order in the stream is the
// same for all, so all agree which one was the first: a notification that another
// one has stored is not stored again, and of those that were stored at the same
// time the later one is left out by the one that reads it.
type shared struct {
	mu    sync.Mutex
	first *recent.Map[notification.Identity, occurrence]
	at    uint64        // the last group that is known
	grown chan struct{} // closed and replaced when at grows
	// current is whether the headers of all groups come; since is when that ended.
	current bool
	since   time.Time
	start   time.Time
}

// occurrence is where a notification was stored first.
type occurrence struct {
	group  uint64
	stored int64         // Unix milliseconds
	seen   time.Duration // since start
}

func newShared() *shared {
	return &shared{first: recent.NewMap[notification.Identity, occurrence](dedupSize), grown: make(chan struct{}), start: time.Now()}
}

// appendID appends what tells duplicates of a notification, and for how long.
func appendID(b []byte, id notification.Identity, within time.Duration) []byte {
	b = append(b, id[:]...)
	return binary.BigEndian.AppendUint16(b, uint16(min(within/time.Second, 1<<16-1)))
}

// idsOf calls f with the entries of a header.
func idsOf(h nats.Header, f func(id notification.Identity, within time.Duration)) {
	b, err := idEncoding.DecodeString(h.Get(headerIDs))
	for ; err == nil && len(b) >= idSize; b = b[idSize:] {
		f(notification.Identity(b), time.Duration(binary.BigEndian.Uint16(b[idSize-2:]))*time.Second)
	}
}

// note remembers the notifications of a group, which follows those before it.
func (s *shared) note(group uint64, stored time.Time, h nats.Header, current bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := occurrence{group, stored.UnixMilli(), time.Since(s.start)}
	idsOf(h, func(id notification.Identity, within time.Duration) {
		if before, known := s.first.Get(id); !known || !before.precedes(now, within) {
			s.first.Set(id, now)
		}
	})
	s.at = group
	s.current = s.current || current
	close(s.grown)
	s.grown = make(chan struct{})
}

// precedes reports whether o makes a duplicate of what was stored later.
func (o occurrence) precedes(later occurrence, within time.Duration) bool {
	return o.group < later.group && later.stored-o.stored < within.Milliseconds()
}

// from returns the group after which to follow, where last is the last one that
// the store has. A store that has lost something gives numbers out again.
func (s *shared) from(last uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == 0 || last < s.at {
		s.first = recent.NewMap[notification.Identity, occurrence](dedupSize)
		s.at = last
	}
	s.current = s.current || s.at == last
	return s.at
}

// isBeyond reports whether a group is known that the store does not have, where
// last is the last one that it has.
func (s *shared) isBeyond(last uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return last < s.at
}

// lost notes that nobody follows for a while.
func (s *shared) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(time.Now())
}

// end notes that the headers of all groups do not come, since then.
func (s *shared) end(since time.Time) {
	if s.current {
		s.current, s.since = false, since
	}
}

// knows reports whether a notification was stored within the given time.
func (s *shared) knows(id notification.Identity, within time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, known := s.first.Get(id)
	return known && time.Since(s.start)-o.seen < within
}

// await waits until the group is known. If the headers do not come, nobody waits for
// longer than awaitShared.
func (s *shared) await(ctx context.Context, group uint64) {
	began := time.Now()
	for {
		s.mu.Lock()
		known, grown, since := s.at >= group, s.grown, began
		if !s.current {
			since = s.since
		}
		s.mu.Unlock()
		left := awaitShared - time.Since(since)
		if known || left <= 0 {
			break
		}
		end := time.NewTimer(left)
		select {
		case <-grown:
		case <-ctx.Done():
		case <-end.C:
		}
		end.Stop()
		if ctx.Err() != nil {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at < group {
		s.end(began)
	}
}

// repeated returns which notifications of a group are duplicates of those in an
// earlier one.
func (s *shared) repeated(group uint64, stored time.Time, h nats.Header) (ids map[notification.Identity]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := occurrence{group: group, stored: stored.UnixMilli()}
	idsOf(h, func(id notification.Identity, within time.Duration) {
		if o, known := s.first.Get(id); known && o.precedes(now, within) {
			if ids == nil {
				ids = make(map[notification.Identity]bool)
			}
			ids[id] = true
		}
	})
	return ids
}

// followLoop follows the headers of all groups.
func (q *Queue) followLoop() {
	for q.ctx.Err() == nil {
		err := q.follow()
		q.shared.lost()
		q.log.Debug("reading what others have stored", "error", err)
		select {
		case <-q.ctx.Done():
		case <-time.After(followPause):
		}
	}
}

func (q *Queue) follow() error {
	if !q.isReady() {
		return fmt.Errorf("%w: %w", ErrUnavailable, errNotReady)
	}
	ctx, cancel := context.WithTimeout(q.ctx, requestTimeout)
	defer cancel()
	stream, err := q.js().Stream(ctx, q.names.stream)
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	if q.shared.isBeyond(state.LastSeq) {
		if state, err = q.agreed(ctx, stream); err != nil {
			return err
		}
	}
	if err := q.catchUp(ctx, stream, state); err != nil {
		return err
	}
	cfg := readerConfig(q.shared.from(state.LastSeq))
	cfg.HeadersOnly = true
	soon, cancel := context.WithTimeout(q.ctx, answerTimeout)
	defer cancel()
	consumer, err := stream.CreateConsumer(soon, cfg)
	if err != nil {
		return err
	}
	// A server that was lost is noticed after two heartbeats.
	iter, err := consumer.Messages(jetstream.PullExpiry(5*time.Second), jetstream.PullHeartbeat(500*time.Millisecond))
	if err != nil {
		return err
	}
	defer iter.Stop()
	for last := uint64(1); ; last++ {
		msg, err := iter.Next(jetstream.NextContext(q.ctx))
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != last {
			return fmt.Errorf("%w: a group got lost on its way", ErrUnavailable)
		}
		q.shared.note(meta.Sequence.Stream, meta.Timestamp, msg.Headers(), meta.NumPending == 0)
	}
}

// catchUp reads one by one what others have stored since: a cluster that has lost a
// server may take ten seconds to make a consumer, and each attempt begins here.
func (q *Queue) catchUp(ctx context.Context, stream jetstream.Stream, state jetstream.StreamState) error {
	at := q.shared.from(state.LastSeq)
	next := max(at+1, state.FirstSeq)
	switch {
	case state.LastSeq-at > maxOneByOne:
		return nil
	case at < state.LastSeq && next > state.LastSeq: // all of it is gone
		q.shared.note(state.LastSeq, time.Time{}, nil, true)
	}
	for ; next <= state.LastSeq; next++ {
		msg, err := stream.GetMsg(ctx, next)
		if err != nil {
			return err
		}
		q.shared.note(next, msg.Time, msg.Header, next == state.LastSeq)
	}
	return nil
}
