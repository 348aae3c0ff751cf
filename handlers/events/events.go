// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package events streams a user's new mails as they come: Server-Sent Events
// (WHATWG HTML, section 9.2).
//
// A request of a user who has signed in carries the client's last position in
// the header Last-Event-ID or the parameter last-event-id; "0" is the beginning
// of the history. The response stays open. A client that does not read fast enough is disconnected, never waited
// for, and resumes at its position when it reconnects.
//
// An idle stream costs next to nothing: a stream over HTTP/1.1 gives back what
// the server holds for a request (the goroutine with its stack, the buffers,
// the request) and keeps only the connection. Goroutines exist only while there
// is something to write.
//
// Like everything below handlers, it makes no promise of stability before v1.
package events

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/problem"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/signin"
	"github.com/dovecotpush/caddy-dovecot-push/internal/eventlog"
	"github.com/dovecotpush/caddy-dovecot-push/internal/jitter"
)

// Config tells where events come from.
type Config struct {
	// Open begins a stream (see [eventlog.Log.Open]).
	Open func(ctx context.Context, user, lastID string, wake func()) (*eventlog.Stream, eventlog.Start, error)
	// Observe is notified of what happens.
	Observe Observer
}

// Observer is notified of what happens. A nil function is not called.
type Observer struct {
	// Opened and Ended are called for each stream.
	Opened func()
	Ended  func(End)
	// Sent is called with the number of events that were written to a stream.
	Sent func(events int)
}

// End is why a stream ended. It is a metric label.
type End string

// The ends.
const (
	Client    End = "client"     // the client went away
	Lifetime  End = "lifetime"   // it lasted as long as one may
	Stopping  End = "stopping"   // the configuration is replaced, or Caddy ends
	Slow      End = "slow"       // the client did not read fast enough
	SignedOut End = "signed_out" // the user's session is no longer valid
	Lost      End = "lost"       // the history was lost
)

// timing is what tests make shorter.
type timing struct {
	heartbeat, lifetime, write, open, stop time.Duration
}

// defaultTiming: proxies and Caddy itself end connections that are silent for
// a minute.
var defaultTiming = timing{
	heartbeat: 25 * time.Second, lifetime: 30 * time.Minute, write: 10 * time.Second, open: 10 * time.Second, stop: time.Second,
}

// retryAfter is when a client may reconnect, spread so that after a reload not
// all return at once.
const retryAfter = 2 * time.Second

// Handler streams. See [New].
type Handler struct {
	cfg    Config
	timing timing

	mu      sync.Mutex
	streams map[*stream]struct{}
	stopped bool
	empty   chan struct{} // closed when it is stopped and no stream is left
}

// New returns a handler.
func New(cfg Config) *Handler {
	if cfg.Observe.Opened == nil {
		cfg.Observe.Opened = func() {}
	}
	if cfg.Observe.Ended == nil {
		cfg.Observe.Ended = func(End) {}
	}
	if cfg.Observe.Sent == nil {
		cfg.Observe.Sent = func(int) {}
	}
	return &Handler{cfg: cfg, timing: defaultTiming, streams: make(map[*stream]struct{}), empty: make(chan struct{})}
}

// ServeHTTP answers with the stream of the user who is asking.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, ok := signin.User(r.Context())
	if !ok {
		problem.Write(w, problem.Problem{Status: http.StatusUnauthorized, Detail: "Sign in first."})
		return
	}
	if r.Method == http.MethodHead {
		writeHeader(w)
		return
	}
	s := &stream{handler: h, valid: signin.Validity(r.Context()), ends: time.Now().Add(spread(h.timing.lifetime)), running: true}
	ctx, cancel := context.WithTimeout(r.Context(), h.timing.open)
	log, start, err := h.cfg.Open(ctx, user, lastID(r), s.wake)
	cancel()
	switch {
	case errors.Is(err, eventlog.ErrTooMany):
		refuse(w, http.StatusTooManyRequests, "There are too many streams for this user already.")
		return
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, "Streams cannot be opened right now. Try again later.")
		return
	}
	h.cfg.Observe.Opened()
	s.log = log
	writeHeader(w)
	if s.sink, err = takeOver(w, r); err != nil {
		s.finish(Client)
		return
	}
	served, answered := s.sink.(*response)
	if answered { // this goroutine has to stay
		served.done = make(chan struct{})
	}
	s.begin(start)
	if answered {
		select {
		case <-served.done:
		case <-r.Context().Done():
			s.end(Client)
			<-served.done
		}
	}
}

// lastID is the client's last position. A browser that reconnects
// automatically sends it in the header; the URL still has the older one.
func lastID(r *http.Request) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	return r.URL.Query().Get("last-event-id")
}

func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Retry-After", "5")
	problem.Write(w, problem.Problem{Status: status, Detail: detail})
}

func writeHeader(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	// Compression would take hundreds of KiB for each stream.
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
}

// enter makes s one of the streams that Stop ends. It returns false if that has
// begun.
func (h *Handler) enter(s *stream) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return false
	}
	h.streams[s] = struct{}{}
	return true
}

func (h *Handler) leave(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.streams[s]; !ok {
		return
	}
	delete(h.streams, s)
	if h.stopped && len(h.streams) == 0 {
		close(h.empty)
	}
}

// Stop ends all streams, and each later one as soon as it has begun, so that
// its client reconnects. It waits for them to end, for one second at most.
func (h *Handler) Stop() {
	h.mu.Lock()
	if h.stopped {
		h.mu.Unlock()
		return
	}
	h.stopped = true
	if len(h.streams) == 0 {
		close(h.empty)
	}
	all := make([]*stream, 0, len(h.streams))
	for s := range h.streams {
		all = append(all, s)
	}
	h.mu.Unlock()
	for _, s := range all {
		s.end(Stopping)
	}
	timer := time.NewTimer(h.timing.stop)
	defer timer.Stop()
	select {
	case <-h.empty:
	case <-timer.C:
	}
}

// spread returns d, plus or minus up to half of it.
func spread(d time.Duration) time.Duration { return jitter.Spread(d, 0.5) }
