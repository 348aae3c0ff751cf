// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"context"
	"slices"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// eventOverhead is about what an event takes in memory besides its data.
	eventOverhead = 200
	// orderOverhead is the part of it that stays when an event is dropped before
	// its turn: its place in the order.
	orderOverhead = 64
)

// Event is one event of a user. It does not change.
type Event struct {
	// ID is its position, for [Log.Open] to go on after it.
	ID string
	// Kind and Data are what was offered.
	Kind string
	Data []byte

	position uint64
	identity notification.Identity
}

// history is the content of the log in the store. Log.mu guards it.
type history struct {
	made  time.Time // of the log in the store
	last  uint64    // the last entry that was read
	head  uint64    // the last position
	floor uint64    // the last position that is no longer known
	bytes int
	order []stored // oldest first
	first int      // index of the oldest in order
	// since is when the store was found to have lost its end. A position that
	// was issued before may since be that of another event.
	since time.Time
}

// stored is an event in the order of the log.
type stored struct {
	topic    *topic
	position uint64
	at       time.Time
}

func (l *Log) followStore(ctx context.Context) error {
	return l.store.Follow(ctx, l.begin, l.read, l.historyRead.happen)
}

// begin is called before the log is read. Events that are no longer there, or
// belong to a log that was lost, are forgotten.
func (l *Log) begin(state queue.LogState) (after uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := &l.history
	if same := state.Made.Equal(h.made); !same || state.Last < h.last {
		if !h.made.IsZero() {
			l.cfg.Logger.Warn("the history of the event streams was lost with its store")
		}
		for _, t := range l.topics {
			t.events = nil
			t.dropped = 0
			t.fail(ErrLost)
		}
		*h = history{made: state.Made}
		if same {
			h.since = time.Now()
		}
	}
	if before := state.First - 1; h.last < before {
		if h.last > 0 {
			for _, t := range l.topics {
				t.fail(ErrLost)
			}
		}
		h.last = before
		h.floor = max(h.floor, position(before, maxPlace))
		h.head = max(h.head, h.floor)
	}
	return h.last
}

// read adds an entry of the log.
func (l *Log) read(entry queue.LogEntry) {
	batch, err := decodeBatch(entry.Data)
	l.mu.Lock()
	defer l.mu.Unlock()
	h := &l.history
	h.last = entry.Seq
	if err != nil {
		l.cfg.Logger.Error("events that cannot be read are left out", "error", err)
	}
	h.head = position(entry.Seq, maxPlace)
	for place, o := range batch {
		p := position(entry.Seq, place)
		if place == len(batch)-1 {
			p = h.head // nothing can follow the last one
		}
		l.add(l.topic(o.user), &Event{
			ID: encodeID(h.made, p, entry.Stored), Kind: o.kind, Data: o.data, position: p, identity: o.id,
		}, entry.Stored)
	}
	l.evict(time.Now())
}

// add appends an event unless it is already there: a notification may be
// delivered again after a crash.
func (l *Log) add(t *topic, e *Event, at time.Time) {
	if slices.ContainsFunc(t.events, func(other *Event) bool { return other.identity == e.identity }) {
		return
	}
	l.history.order = append(l.history.order, stored{t, e.position, at})
	l.history.bytes += len(e.Data) + eventOverhead
	if len(t.events) >= maxEvents {
		l.drop(t)
	}
	t.events = append(t.events, e)
	for _, s := range t.streams {
		s.wake()
	}
}

// drop drops the oldest event of a topic.
func (l *Log) drop(t *topic) {
	oldest := t.events[0]
	t.events[0] = nil
	t.events = t.events[1:]
	t.dropped = oldest.position
	l.history.bytes -= len(oldest.Data) + eventOverhead - orderOverhead
}

// evict drops events that are too old, or too many.
func (l *Log) evict(now time.Time) {
	h := &l.history
	for h.first < len(h.order) {
		oldest := h.order[h.first]
		if now.Sub(oldest.at) < l.timing.history && h.bytes <= maxBytes {
			break
		}
		h.order[h.first] = stored{}
		h.first++
		h.floor = oldest.position
		if t := oldest.topic; len(t.events) > 0 && t.events[0].position == oldest.position {
			l.drop(t)
		}
		h.bytes -= orderOverhead
	}
	if h.first > 1024 && h.first > len(h.order)/2 {
		h.order = slices.Clone(h.order[h.first:])
		h.first = 0
	}
}
