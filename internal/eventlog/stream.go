// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"context"
	"slices"
	"sort"
	"time"
)

// Stream is the events of one user, from some position on. One goroutine at a
// time uses it.
type Stream struct {
	log    *Log
	topic  *topic
	wake   func()
	cursor uint64
	err    error
}

// Start is where a stream begins.
type Start uint8

// Where streams begin.
const (
	// Now: with the next event, as no position was given.
	Now Start = iota
	// Resumed: after the given position.
	Resumed
	// Reset: with the next event, because the events after the given position
	// are not known any more.
	Reset
	// Whole: with the oldest event of the history, as [Beginning] was given.
	Whole
)

// Beginning is the position before the oldest event that is known. Open takes
// it like a position that a client was at.
const Beginning = "0"

// Open opens a stream of the events of user, after the position lastID if it is
// not empty, and makes sure that these events are stored from now on. wake is
// called whenever there may be something for [Stream.Next]. It must return at
// once and must not call the log. Errors: [ErrTooMany], [ErrClosed],
// queue.ErrUnavailable. The stream must be closed.
func (l *Log) Open(ctx context.Context, user, lastID string, wake func()) (*Stream, Start, error) {
	if err := l.wait(ctx, l.leasesRead, l.historyRead); err != nil {
		return nil, Now, err
	}
	beyond, err := l.beyond(ctx, lastID)
	if err != nil {
		return nil, Now, err
	}
	l.mu.Lock()
	t := l.topic(user)
	// Counted before the lease is written: many at once are no more.
	if len(t.streams)+t.opening >= MaxStreams {
		l.mu.Unlock()
		return nil, Now, ErrTooMany
	}
	t.opening++
	head := l.history.head // events that arrive while the lease is written belong to the stream
	l.mu.Unlock()
	err = l.takeLease(ctx, user)
	l.mu.Lock()
	defer l.mu.Unlock()
	t.opening--
	switch {
	case err != nil:
		return nil, Now, err
	case l.ctx.Err() != nil:
		return nil, Now, ErrClosed
	}
	s := &Stream{log: l, topic: t, wake: wake, cursor: head}
	start := Reset
	if !beyond {
		start = l.start(t, lastID, &s.cursor)
	}
	t.streams = append(t.streams, s)
	return s, start, nil
}

// beyond reports whether lastID is a position that the store does not have: it
// has lost its end, and what comes gets the same positions. A position after
// the head alone does not show that. Another Caddy may be ahead of this one.
func (l *Log) beyond(ctx context.Context, lastID string) (bool, error) {
	l.mu.Lock()
	p, _, ok := decodeID(lastID, l.history.made)
	ahead := ok && p > l.history.head
	l.mu.Unlock()
	if !ahead {
		return false, nil
	}
	last, err := l.store.Last(ctx)
	return p > position(last, maxPlace), err
}

// start sets cursor to the position lastID, if it is still known.
func (l *Log) start(t *topic, lastID string, cursor *uint64) Start {
	if lastID == "" {
		return Now
	}
	if lastID == Beginning {
		*cursor = t.dropped
		return Whole
	}
	p, issued, ok := decodeID(lastID, l.history.made)
	age := time.Since(issued)
	switch {
	case !ok, age > l.timing.history, age < -l.timing.history:
		return Reset
	case p < l.history.floor, p < t.dropped, !issued.After(l.history.since):
		return Reset
	}
	// Another Caddy may be ahead of this one: then p is after the head.
	*cursor = p
	return Resumed
}

// ID returns the ID of the position before the next event.
func (s *Stream) ID() string {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	return encodeID(l.history.made, s.cursor, time.Now())
}

// Next returns the events since the last call, and the ID of the position after
// them. An error is final.
func (s *Stream) Next() (events []*Event, id string, err error) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case s.err != nil:
		return nil, "", s.err
	case s.topic.dropped > s.cursor:
		return nil, "", ErrSlow
	}
	all := s.topic.events
	from := sort.Search(len(all), func(i int) bool { return all[i].position > s.cursor })
	if from < len(all) {
		events = append(events, all[from:]...)
	}
	s.cursor = max(s.cursor, l.history.head)
	return events, encodeID(l.history.made, s.cursor, time.Now()), nil
}

// Close ends the stream. Its lease lasts for the time of the history.
func (s *Stream) Close() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if i := slices.Index(s.topic.streams, s); i >= 0 {
		s.topic.streams = slices.Delete(s.topic.streams, i, i+1)
	}
}

// fail ends the stream from inside. Log.mu is held.
func (s *Stream) fail(err error) {
	s.err = err
	s.wake()
}

func (t *topic) fail(err error) {
	for _, s := range t.streams {
		s.fail(err)
	}
}
