// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

// window is how long a notification counts as a duplicate.
const window = time.Minute

// place is where a notification is for one target. One that is nowhere is done.
type place string

const (
	waiting place = "waiting"
	parked  place = "parked"
	dead    place = "dead letter"
)

// The queue is a map from targets and notifications to places, over whatever is
// done with it: nothing is lost, comes twice, changes or is in two places, and
// the numbers it reports are those of the map.
func TestModel(t *testing.T) {
	queuetest.Property(t, 4, func(rt *rapid.T) {
		m := &model{cfg: queuetest.Config(t.TempDir())}
		m.cfg.MaxAge = 24 * time.Hour // longer than all of it takes
		for _, name := range []string{"a", "b"} {
			m.targets = append(m.targets, &modelTarget{
				name: name, places: make(map[int]place), records: make(map[int]queue.Record), seen: -1,
			})
		}
		m.open(rt)
		defer m.close(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"":       m.compare,
			"accept": m.acceptSome, "accept more": m.acceptSome, // more often than the others
			"accept again": m.acceptAgain,
			"take":         func(rt *rapid.T) { m.take(rt, m.target(rt), false, 1+draw(rt, "most", 5)) },
			"take parked":  func(rt *rapid.T) { m.take(rt, m.target(rt), true, 1+draw(rt, "most", 5)) },
			"deliver":      m.deliver, "deliver more": m.deliver,
			"end": m.end, "end another": m.end, "end one more": m.end,
			"dead letters": m.letters, "more dead letters": m.letters,
			"abandon": m.abandon,
			"wait":    func(rt *rapid.T) { time.Sleep(3 * time.Second) }, // until it is trimmed
			"open again": func(rt *rapid.T) {
				m.close(rt)
				m.returned = time.Now() // which the store has forgotten
				m.open(rt)
				m.abandon(rt)
			},
			"remove target": m.remove,
		})
		m.drain(rt)
	})
}

func draw(rt *rapid.T, label string, most int) int { return rapid.IntRange(0, most).Draw(rt, label) }

type model struct {
	cfg      queue.Config
	q        *queue.Queue
	release  func()
	targets  []*modelTarget
	accepted []queue.Record
	// written is when each identity was written last, by this queue.
	written map[notification.Identity]time.Time
	// returned is when a group was returned last.
	returned time.Time
}

type modelTarget struct {
	name            string
	news, postponed *queue.Reader
	places          map[int]place
	records         map[int]queue.Record // of those that are parked or dead letters
	letters         []int                // dead letters, oldest first
	held            []*heldGroup
	seen            int // the last one that was taken for the first time
}

// heldGroup is a group that was taken and not given back.
type heldGroup struct {
	*queue.Group
	numbers  []int
	extended time.Time
}

func (m *model) open(rt *rapid.T) {
	var err error
	m.q, err = queue.Open(context.Background(), m.cfg)
	require.NoError(rt, err)
	m.written = make(map[notification.Identity]time.Time)
	m.use(rt, m.targets...)
}

func (m *model) close(rt *rapid.T) {
	for _, t := range m.targets {
		t.close()
	}
	m.release()
	m.release = nil
	require.NoError(rt, m.q.Close())
}

// use changes which targets are in use, as a reload does.
func (m *model) use(rt *rapid.T, targets ...*modelTarget) {
	var names []string
	for _, t := range targets {
		names = append(names, t.name)
	}
	release, err := m.q.Use(context.Background(), names)
	require.NoError(rt, err)
	if m.release != nil {
		m.release()
	}
	m.release = release
	for _, t := range targets {
		if t.news == nil {
			t.news, t.postponed = m.q.NewReader(t.name), m.q.NewParkedReader(t.name)
		}
	}
}

func (t *modelTarget) close() {
	if t.news != nil {
		t.news.Close()
		t.postponed.Close()
	}
	t.news, t.postponed, t.held = nil, nil, nil
}

func (m *model) target(rt *rapid.T) *modelTarget { return m.targets[draw(rt, "target", 1)] }

func (m *model) acceptSome(rt *rapid.T) {
	for range draw(rt, "how many", 5) {
		m.accept(rt, identityOf(len(m.accepted)), false)
	}
}

func (m *model) acceptAgain(rt *rapid.T) {
	if len(m.accepted) == 0 {
		return
	}
	id := m.accepted[max(0, len(m.accepted)-1-draw(rt, "which", 5))].ID
	for range draw(rt, "after", 8) {
		time.Sleep(window / 7)
		m.extend(rt)
	}
	at, known := m.written[id]
	m.accept(rt, id, known && time.Since(at) < window)
}

// accept accepts a notification, which gets the next number.
func (m *model) accept(rt *rapid.T, id notification.Identity, duplicate bool) {
	n := len(m.accepted)
	r := queue.Record{
		ID: id, Mailbox: notification.Mailbox(1 + n%3), UID: uint32(n), Accepted: time.UnixMilli(1_700_000_000_000 + int64(n)),
		TraceParent: fmt.Sprint("trace", n), Body: strconv.AppendInt(nil, int64(n), 10),
	}
	got, err := m.q.Accept(context.Background(), r, window)
	require.NoError(rt, err)
	require.Equal(rt, duplicate, got, "%x is a duplicate", id)
	if duplicate {
		return
	}
	m.written[id] = time.Now()
	m.accepted = append(m.accepted, r)
	for _, t := range m.targets {
		t.places[n] = waiting
	}
}

// take takes groups, as many as there are up to most.
func (m *model) take(rt *rapid.T, t *modelTarget, wasParked bool, most int) {
	reader, from := t.news, waiting
	if wasParked {
		reader, from = t.postponed, parked
	}
	free := t.in(from)
	for _, h := range t.held {
		for _, n := range h.numbers {
			delete(free, n)
		}
	}
	// What was returned, and what a trimmed stream forgot, comes within AckWait;
	// what was held over two restarts has come after three minutes.
	for deadline := time.Now().Add(20 * queue.AckWait); ; {
		m.extend(rt)
		groups, err := reader.Take(context.Background(), most, 1<<20)
		if errors.Is(err, queue.ErrNoMore) {
			if len(free) == 0 {
				return
			}
			require.Less(rt, time.Now(), deadline, "%s does not get %v", t.name, slices.Sorted(maps.Keys(free)))
			continue
		}
		require.NoError(rt, err)
		for _, g := range groups {
			m.took(rt, t, g, free)
		}
		return
	}
}

func (m *model) took(rt *rapid.T, t *modelTarget, g *queue.Group, free map[int]bool) {
	h := &heldGroup{Group: g, extended: time.Now()}
	for _, r := range g.Records {
		n, err := strconv.Atoi(string(r.Body))
		require.NoError(rt, err)
		require.True(rt, free[n], "%s gets %d, which is %q", t.name, n, t.places[n])
		delete(free, n)
		want := m.accepted[n]
		if g.WasParked {
			want = t.records[n]
		} else if n > t.seen {
			for older := range free {
				require.False(rt, older > t.seen && older < n, "%s gets %d before %d", t.name, n, older)
			}
			t.seen = n
		}
		require.Equal(rt, fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", r))
		h.numbers = append(h.numbers, n)
	}
	t.held = append(t.held, h)
}

// deliver takes groups and acknowledges all that are held.
func (m *model) deliver(rt *rapid.T) {
	t := m.target(rt)
	m.take(rt, t, false, 1+draw(rt, "most", 5))
	m.ackAll(rt, t)
}

func (m *model) ackAll(rt *rapid.T, t *modelTarget) {
	for _, h := range t.held {
		for _, n := range h.numbers {
			delete(t.places, n)
		}
		require.NoError(rt, h.Ack())
	}
	t.held = nil
}

// end returns a held group, or ends each of its records in a way of its own:
// those that are parked are parked together.
func (m *model) end(rt *rapid.T) {
	t := m.target(rt)
	if len(t.held) == 0 {
		return
	}
	at := draw(rt, "which", len(t.held)-1)
	h := t.held[at]
	t.held = slices.Delete(t.held, at, at+1)
	if draw(rt, "return", 3) == 0 {
		m.returned = time.Now()
		require.NoError(rt, h.NakWithDelay(time.Duration(draw(rt, "delay", 5))*time.Second))
		time.Sleep(time.Millisecond) // it is on its way
		return
	}
	var again []queue.Record
	for i, n := range h.numbers {
		r := h.Records[i]
		switch to := rapid.SampledFrom([]place{"", parked, dead}).Draw(rt, "to"); to {
		case "":
			delete(t.places, n)
		case parked:
			r.Attempts++
			r.Destination = fmt.Sprint("device", n)
			again = append(again, r)
			t.records[n], t.places[n] = r, to
		default:
			require.NoError(rt, m.q.DeadLetter(context.Background(), t.name, &r, fmt.Sprint("reason", n)))
			t.records[n], t.places[n] = r, to
			t.letters = append(t.letters, n)
		}
	}
	require.NoError(rt, m.q.Park(context.Background(), t.name, queue.Parked{Records: again, Due: time.Now(), Reason: "failed"}))
	require.NoError(rt, h.Ack())
}

// letters reads the dead letters, and replays or deletes some.
func (m *model) letters(rt *rapid.T) {
	t, ctx := m.target(rt), context.Background()
	var letters []queue.DeadLetter
	for letter, err := range m.q.DeadLetters(ctx, queue.DeadLetterFilter{Target: t.name}) {
		require.NoError(rt, err)
		letters = append(letters, letter)
	}
	require.Len(rt, letters, len(t.letters))
	for i, n := range t.letters {
		require.Equal(rt, t.name, letters[i].Target)
		require.Equal(rt, fmt.Sprint("reason", n), letters[i].Reason)
		require.Equal(rt, fmt.Sprintf("%+v", t.records[n]), fmt.Sprintf("%+v", letters[i].Record))
	}
	from := draw(rt, "from", len(letters))
	chosen, numbers := letters[from:], slices.Clone(t.letters[from:])
	t.letters = t.letters[:from]
	if rapid.Bool().Draw(rt, "replay") {
		for _, n := range numbers {
			r := t.records[n]
			r.Attempts, r.Replayed = 0, time.UnixMilli(time.Now().UnixMilli())
			t.records[n], t.places[n] = r, parked
		}
		require.NoError(rt, errors.Join(m.q.Replay(ctx, chosen)...))
		return
	}
	for i, n := range numbers {
		delete(t.places, n)
		for range 2 { // it may be gone already
			require.NoError(rt, m.q.DeleteDeadLetter(ctx, chosen[i].Number))
		}
	}
}

// abandon lets the time pass in which held groups are to be acknowledged.
func (m *model) abandon(*rapid.T) {
	for _, t := range m.targets {
		t.held = nil
	}
	time.Sleep(queue.AckWait + 2*time.Second)
}

// remove takes a target out of the configuration, and puts it in again. A target
// that was dropped in between starts with what waits for the other.
func (m *model) remove(rt *rapid.T) {
	t := m.target(rt)
	other := m.targets[0]
	if other == t {
		other = m.targets[1]
	}
	if len(t.in(waiting))+len(t.in(parked)) == 0 {
		return // it may be forgotten at any time
	}
	t.close()
	m.use(rt, other)
	m.acceptSome(rt)
	if rapid.Bool().Draw(rt, "drop") && len(t.letters) == 0 { // which would stay, and be in two places
		require.NoError(rt, m.q.Drop(context.Background(), t.name))
		clear(t.places)
		first := other.first()
		for n := first; n >= 0 && n < len(m.accepted); n++ {
			t.places[n] = waiting
		}
		t.seen = first - 1
	}
	m.use(rt, m.targets...)
	m.abandon(rt)
}

// extend keeps what is held.
func (m *model) extend(rt *rapid.T) {
	for _, t := range m.targets {
		for _, h := range t.held {
			if time.Since(h.extended) >= queue.AckWait/3 {
				require.NoError(rt, h.InProgress())
				h.extended = time.Now()
			}
		}
	}
}

func (t *modelTarget) in(p place) map[int]bool {
	all := make(map[int]bool)
	for n, is := range t.places {
		if is == p {
			all[n] = true
		}
	}
	return all
}

// first is the smallest number that waits, or -1.
func (t *modelTarget) first() int {
	if all := slices.Sorted(maps.Keys(t.in(waiting))); len(all) > 0 {
		return all[0]
	}
	return -1
}

// compare compares what the queue reports with the map.
func (m *model) compare(rt *rapid.T) {
	m.extend(rt)
	st, err := m.q.Stats(context.Background(), []string{"a", "b"})
	require.NoError(rt, err)
	stored := 0 // what one of them still has to get, and what came after it
	for _, t := range m.targets {
		require.Equal(rt, queue.TargetStats{
			Waiting: uint64(len(t.in(waiting))), Parked: uint64(len(t.in(parked))), Dead: uint64(len(t.in(dead))),
		}, st.Targets[t.name], t.name)
		if first := t.first(); first >= 0 {
			stored = max(stored, len(m.accepted)-first)
		}
	}
	if time.Since(m.returned) <= queue.AckWait { // nothing is removed for a while after something was returned
		require.GreaterOrEqual(rt, int(st.Waiting), stored)
	} else {
		require.Equal(rt, stored, int(st.Waiting))
	}
}

// drain gives every target everything that is there for it.
func (m *model) drain(rt *rapid.T) {
	m.abandon(rt)
	for _, t := range m.targets {
		for _, p := range []place{waiting, parked} {
			for len(t.in(p)) > 0 {
				m.take(rt, t, p == parked, 100)
				m.ackAll(rt, t)
			}
			m.take(rt, t, p == parked, 1)
		}
	}
	time.Sleep(queue.AckWait + 2*time.Second)
	m.compare(rt)
}

func identityOf(n int) (id notification.Identity) {
	binary.BigEndian.PutUint64(id[:], uint64(n+1))
	return id
}
