// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/signin"
	"github.com/dovecotpush/caddy-dovecot-push/internal/eventlog"
)

// connection is one stream to one client.
type connection struct {
	w       http.ResponseWriter
	control *http.ResponseController
	handler *Handler
	stream  *eventlog.Stream
}

// enough bytes are written at once: each such part has its own deadline.
const enough = 16 << 10

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// serve writes until something ends the stream.
func (c *connection) serve(ctx context.Context, start eventlog.Start) End {
	timing := c.handler.timing
	begin := c.stream.ID()
	if end := c.write(func(b []byte) []byte { return appendStart(b, start, begin) }, false); end != "" {
		return end
	}
	ends := time.Now().Add(spread(timing.lifetime))
	heartbeat := time.NewTimer(spread(timing.heartbeat))
	defer heartbeat.Stop()
	for {
		beat := false
		select {
		case <-ctx.Done():
			return Client
		case <-c.handler.cfg.Stopping:
			return Stopping
		case <-c.stream.Ready:
		case <-heartbeat.C:
			beat = true
			heartbeat.Reset(spread(timing.heartbeat))
			switch {
			case time.Now().After(ends):
				return Lifetime
			case !signin.StillValid(ctx):
				return SignedOut
			}
		}
		if end := c.write(nil, beat); end != "" {
			return end
		}
	}
}

// write writes what begin appends, if anything, then the events that have come.
// A beat is written in any case.
func (c *connection) write(begin func([]byte) []byte, beat bool) End {
	events, id, err := c.stream.Next()
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
	if err := c.writeEvents(begin, events, id); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return Slow
		}
		return Client
	}
	if len(events) > 0 {
		c.handler.cfg.Observe.Sent(len(events))
	}
	return ""
}

func (c *connection) writeEvents(begin func([]byte) []byte, events []*eventlog.Event, id string) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	b := (*buffer)[:0]
	if begin != nil {
		b = begin(b)
	}
	for _, e := range events {
		if b = appendEvent(b, e.ID, e.Kind, e.Data); len(b) >= enough {
			if err := c.send(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	// The position after them, also where there are none: without it a quiet
	// stream could not be resumed for longer than the history.
	b = appendPosition(b, id)
	*buffer = b[:0]
	return c.send(b)
}

// send writes, within a deadline that does not go on after that.
func (c *connection) send(b []byte) error {
	deadline := time.Now().Add(c.handler.timing.write)
	if err := c.control.SetWriteDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := c.w.Write(b); err != nil {
		return err
	}
	if err := c.control.Flush(); err != nil {
		return err
	}
	_ = c.control.SetWriteDeadline(time.Time{})
	return nil
}
