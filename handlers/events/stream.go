// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/eventlog"
)

// stream is one stream to one client. While nothing happens it has no
// goroutine that writes; the first thing to write starts one, which ends when
// there is nothing more.
type stream struct {
	handler *Handler
	log     *eventlog.Stream
	sink    sink
	valid   func() bool // whether the user is still signed in
	ends    time.Time
	timer   *time.Timer // of the next heartbeat

	mu      sync.Mutex
	running bool // somebody writes, or is about to
	more    bool // and has to look again after that
	beat    bool // a heartbeat is due
	ended   End  // not empty: nothing more is to be written
}

// begin writes how the stream starts, then goes on in the background.
func (s *stream) begin(start eventlog.Start) {
	entered := s.handler.enter(s)
	s.sink.watch(func() { s.end(Client) })
	id := s.log.ID()
	end := s.write(func(b []byte) []byte { return appendStart(b, start, id) }, false)
	if end == "" && !entered {
		end = Stopping
	}
	if end != "" {
		s.finish(end)
		return
	}
	s.mu.Lock()
	s.timer = time.AfterFunc(spread(s.handler.timing.heartbeat), s.heartbeat)
	s.mu.Unlock()
	s.run()
}

// wake is called when there may be something to write.
func (s *stream) wake() { s.poke(false) }

func (s *stream) heartbeat() { s.poke(true) }

// poke makes somebody write. It does not wait for that.
func (s *stream) poke(beat bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beat = s.beat || beat
	switch {
	case s.ended != "":
	case s.running:
		s.more = true
	default:
		s.running, s.more = true, true
		go s.run() // which ends soon: each write has a deadline
	}
}

// run writes for as long as there is something to write.
func (s *stream) run() {
	for {
		s.mu.Lock()
		end, more, beat := s.ended, s.more, s.beat
		s.more, s.beat = false, false
		if end == "" && !more {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if end == "" && beat {
			end = s.due()
		}
		if end == "" {
			end = s.write(nil, beat)
		}
		if end != "" {
			s.finish(end)
			return
		}
	}
}

// due is what has to be looked at from time to time.
func (s *stream) due() End {
	switch {
	case time.Now().After(s.ends):
		return Lifetime
	case !s.valid():
		return SignedOut
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer.Reset(spread(s.handler.timing.heartbeat))
	return ""
}

// end ends the stream from outside, soon.
func (s *stream) end(why End) {
	s.mu.Lock()
	first := s.ended == ""
	if first {
		s.ended = why
	}
	running := s.running
	s.running = true // nobody begins to write any more
	s.mu.Unlock()
	switch {
	case !first:
	case running:
		s.sink.hurry(s.handler.timing.stop)
	default:
		s.finish(why)
	}
}

// finish ends the stream. Whoever runs calls it, once.
func (s *stream) finish(why End) {
	s.mu.Lock()
	if s.ended == "" {
		s.ended = why
	}
	why = s.ended
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.log.Close()
	s.handler.cfg.Observe.Ended(why)
	if s.sink != nil {
		s.sink.close(why == Client || why == Slow, s.handler.timing.stop)
	}
	s.handler.leave(s)
}

// write writes what begin appends, if anything, then the events that have come.
// A beat is written in any case. The result is not empty if the stream has to
// end.
func (s *stream) write(begin func([]byte) []byte, beat bool) End {
	events, id, err := s.log.Next()
	switch {
	case errors.Is(err, eventlog.ErrSlow):
		return Slow
	case errors.Is(err, eventlog.ErrLost):
		return Lost
	case err != nil:
		return Stopping
	case len(events) == 0 && begin == nil && !beat:
		return ""
	}
	if err := s.writeEvents(begin, events, id); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return Slow
		}
		return Client
	}
	if len(events) > 0 {
		s.handler.cfg.Observe.Sent(len(events))
	}
	return ""
}

// enough bytes are written at once: each such part has its own deadline.
const enough = 16 << 10

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (s *stream) writeEvents(begin func([]byte) []byte, events []*eventlog.Event, id string) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	b := (*buffer)[:0]
	if begin != nil {
		b = begin(b)
	}
	for _, e := range events {
		if b = appendEvent(b, e.ID, e.Kind, e.Data); len(b) >= enough {
			if err := s.sink.send(b, s.handler.timing.write); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	// The position after them, also where there are none: without it a quiet
	// stream could not be resumed for longer than the history.
	b = appendPosition(b, id)
	*buffer = b[:0]
	return s.sink.send(b, s.handler.timing.write)
}
