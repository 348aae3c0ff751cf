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

// stream is one stream to one client. An idle stream has no writing goroutine.
// The first thing to write starts one, which ends when there is nothing left to
// write.
type stream struct {
	handler *Handler
	log     *eventlog.Stream
	sink    sink
	valid   func() bool // whether the user is still signed in
	ends    time.Time
	timer   *time.Timer // of the next heartbeat

	mu           sync.Mutex
	running      bool // a goroutine writes, or is about to
	more         bool // it must check again before it ends
	heartbeatDue bool
	ended        End // not empty: nothing more may be written
}

// begin writes how the stream starts, then goes on in the background.
func (s *stream) begin(start eventlog.Start) {
	entered := s.handler.enter(s)
	s.sink.watch(func() { s.end(Client) })
	id := s.log.ID()
	end := s.write(func(b []byte) []byte { return appendStart(b, start, id) }, false)
	if end == "" && start == eventlog.Whole {
		end = s.sent(s.sink.send(appendEvent(nil, s.log.ID(), "current", []byte(`{"@type":"Current"}`)), s.handler.timing.write))
	}
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
func (s *stream) wake() { s.wakeWriter(false) }

func (s *stream) heartbeat() { s.wakeWriter(true) }

// wakeWriter starts the writing goroutine if it does not run. It does not wait.
func (s *stream) wakeWriter(heartbeat bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heartbeatDue = s.heartbeatDue || heartbeat
	switch {
	case s.ended != "":
	case s.running:
		s.more = true
	default:
		s.running, s.more = true, true
		go s.run() // which ends soon: each write has a deadline
	}
}

// run writes as long as there is something to write.
func (s *stream) run() {
	for {
		s.mu.Lock()
		end, more, heartbeat := s.ended, s.more, s.heartbeatDue
		s.more, s.heartbeatDue = false, false
		if end == "" && !more {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if end == "" && heartbeat {
			end = s.check()
		}
		if end == "" {
			end = s.write(nil, heartbeat)
		}
		if end != "" {
			s.finish(end)
			return
		}
	}
}

// check is made at each heartbeat: it reports whether the stream has to end, and
// schedules the next heartbeat.
func (s *stream) check() End {
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

// end ends the stream from another goroutine, soon.
func (s *stream) end(why End) {
	s.mu.Lock()
	first := s.ended == ""
	if first {
		s.ended = why
	}
	running := s.running
	s.running = true // no other goroutine may start to write
	s.mu.Unlock()
	switch {
	case !first:
	case running:
		s.sink.shortenDeadline(s.handler.timing.stop)
	default:
		s.finish(why)
	}
}

// finish ends the stream. The running goroutine calls it, once.
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

// write writes what begin appends, if it is not nil, then the new events. A
// heartbeat is always written. The result is not empty if the stream has to
// end.
func (s *stream) write(begin func([]byte) []byte, heartbeat bool) End {
	events, id, err := s.log.Next()
	switch {
	case errors.Is(err, eventlog.ErrSlow):
		return Slow
	case errors.Is(err, eventlog.ErrLost):
		return Lost
	case err != nil:
		return Stopping
	case len(events) == 0 && begin == nil && !heartbeat:
		return ""
	}
	if end := s.sent(s.writeEvents(begin, events, id)); end != "" {
		return end
	}
	if len(events) > 0 {
		s.handler.cfg.Observe.Sent(len(events))
	}
	return ""
}

// sent is the end that the result of a write means: not empty if it failed.
func (s *stream) sent(err error) End {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Slow
	default:
		return Client
	}
}

// flushSize is about how many bytes are written at once. Each write has its own
// deadline.
const flushSize = 16 << 10

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (s *stream) writeEvents(begin func([]byte) []byte, events []*eventlog.Event, id string) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	b := (*buffer)[:0]
	if begin != nil {
		b = begin(b)
	}
	for _, e := range events {
		if b = appendEvent(b, e.ID, e.Kind, e.Data); len(b) >= flushSize {
			if err := s.sink.send(b, s.handler.timing.write); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	// The position after them, even if there are none: without it a stream that
	// was idle for longer than the history could not be resumed.
	b = appendPosition(b, id)
	*buffer = b[:0]
	return s.sink.send(b, s.handler.timing.write)
}
