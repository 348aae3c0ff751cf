// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
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

// operation is something that is done with a queue. Its numbers select among
// what there is then.
type operation struct {
	name    string
	target  int
	a, b, c int
}

// operations are all names of operations, those that happen more often several
// times.
var operations = []string{
	"accept", "accept", "accept", "repeat", "deliver", "deliver", "deliver", "deliver", "take", "take", "take", "take parked", "take parked",
	"ack", "ack", "nak", "park", "park", "dead-letter", "dead-letter", "replay", "delete",
	"abandon", "trim", "reopen", "remove", "drop",
}

func anyOperation() *rapid.Generator[operation] {
	return rapid.Custom(func(t *rapid.T) operation {
		return operation{
			name:   rapid.SampledFrom(operations).Draw(t, "operation"),
			target: rapid.IntRange(0, 1).Draw(t, "target"),
			a:      rapid.IntRange(0, 5).Draw(t, "a"),
			b:      rapid.IntRange(0, 5).Draw(t, "b"),
			c:      rapid.IntRange(0, 5).Draw(t, "c"),
		}
	})
}

// The queue is a map from targets and notifications to places, over whatever is
// done with it: nothing is lost, comes twice, changes or is in two places, and
// the numbers it reports are those of the map.
func TestModel(t *testing.T) {
	require.NoError(t, flag.Set("rapid.checks", "12"))
	rapid.Check(t, func(rt *rapid.T) {
		todo := rapid.SliceOfN(anyOperation(), 5, 60).Draw(rt, "operations")
		var err error
		dir := t.TempDir()
		queuetest.InVirtualTime(t, func(*testing.T) { err = runModel(dir, todo) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func runModel(dir string, todo []operation) (err error) {
	cfg := queuetest.Config(dir)
	cfg.MaxAge = 24 * time.Hour // longer than all of it takes
	m := &model{ctx: context.Background(), cfg: cfg}
	for _, name := range []string{"a", "b"} {
		m.targets = append(m.targets, &modelTarget{
			name: name, places: make(map[int]place), records: make(map[int]queue.Record), seen: -1,
		})
	}
	if err := m.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	for n, o := range todo {
		err := m.do(o)
		if err == nil {
			err = m.compare()
		}
		if err != nil {
			return fmt.Errorf("operation %d, %s: %w", n, o.name, err)
		}
	}
	return m.drain()
}

type model struct {
	ctx      context.Context
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
	group    *queue.Group
	numbers  []int
	extended time.Time
}

func (m *model) open() error {
	q, err := queue.Open(m.ctx, m.cfg)
	if err != nil {
		return err
	}
	m.q, m.written = q, make(map[notification.Identity]time.Time)
	return m.use("a", "b")
}

// use changes which targets are in use, as a reload does.
func (m *model) use(names ...string) error {
	release, err := m.q.Use(m.ctx, names)
	if err != nil {
		return err
	}
	if m.release != nil {
		m.release()
	}
	m.release = release
	for _, t := range m.targets {
		if t.news == nil {
			t.news, t.postponed = m.q.NewReader(t.name), m.q.NewParkedReader(t.name)
		}
	}
	return nil
}

func (m *model) close() error {
	for _, t := range m.targets {
		t.close()
	}
	m.release()
	m.release = nil
	return m.q.Close()
}

func (t *modelTarget) close() {
	t.news.Close()
	t.postponed.Close()
	t.news, t.postponed, t.held = nil, nil, nil
}

func (m *model) do(o operation) error {
	t := m.targets[o.target]
	switch o.name {
	case "accept":
		for range o.a {
			if err := m.accept(identityOf(len(m.accepted)), false); err != nil {
				return err
			}
		}
		return nil
	case "repeat":
		if len(m.accepted) == 0 {
			return nil
		}
		time.Sleep(time.Duration(o.b) * window / 4)
		id := m.accepted[max(0, len(m.accepted)-1-o.a)].ID
		at, known := m.written[id]
		return m.accept(id, known && time.Since(at) < window)
	case "take":
		return m.take(t, false, 1+o.a)
	case "take parked":
		return m.take(t, true, 1+o.a)
	case "deliver":
		if err := m.take(t, false, 1+o.a); err != nil {
			return err
		}
		for len(t.held) > 0 {
			if err := m.end(t, operation{name: "ack"}); err != nil {
				return err
			}
		}
		return nil
	case "ack", "nak", "park", "dead-letter":
		return m.end(t, o)
	case "replay", "delete":
		return m.letter(t, o)
	case "abandon":
		return m.abandon()
	case "trim":
		time.Sleep(3 * time.Second)
		return m.extend()
	case "reopen":
		if err := m.close(); err != nil {
			return err
		}
		m.returned = time.Now() // which the store has forgotten
		if err := m.open(); err != nil {
			return err
		}
		return m.abandon()
	default:
		return m.remove(t, o)
	}
}

// accept accepts a notification, which gets the next number.
func (m *model) accept(id notification.Identity, duplicate bool) error {
	n := len(m.accepted)
	r := queue.Record{
		ID: id, Mailbox: notification.Mailbox(1 + n%3), UID: uint32(n), Accepted: time.UnixMilli(1_700_000_000_000 + int64(n)),
		TraceParent: fmt.Sprint("trace", n), Body: strconv.AppendInt(nil, int64(n), 10),
	}
	got, err := m.q.Accept(m.ctx, r, window)
	if err != nil {
		return err
	}
	if got != duplicate {
		return fmt.Errorf("%x is a duplicate: %v", id, got)
	}
	if duplicate {
		return nil
	}
	m.written[id] = time.Now()
	m.accepted = append(m.accepted, r)
	for _, t := range m.targets {
		t.places[n] = waiting
	}
	return nil
}

// take takes groups, as many as there are up to most.
func (m *model) take(t *modelTarget, wasParked bool, most int) error {
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
	// What was returned, and what a trimmed stream forgot, comes within AckWait.
	for deadline := time.Now().Add(queue.AckWait + 5*time.Second); ; {
		if err := m.extend(); err != nil {
			return err
		}
		groups, err := reader.Take(m.ctx, most, 1<<20)
		if errors.Is(err, queue.ErrNoMore) {
			if len(free) == 0 {
				return nil
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s does not get %v", t.name, slices.Sorted(maps.Keys(free)))
			}
			continue
		}
		if err != nil {
			return err
		}
		for _, g := range groups {
			if err := m.took(t, g, free, wasParked); err != nil {
				return err
			}
		}
		return nil
	}
}

func (m *model) took(t *modelTarget, g *queue.Group, free map[int]bool, wasParked bool) error {
	h := &heldGroup{group: g, extended: time.Now()}
	for _, r := range g.Records {
		n, err := strconv.Atoi(string(r.Body))
		if err != nil {
			return err
		}
		if !free[n] {
			return fmt.Errorf("%s gets %d, which is %q", t.name, n, t.places[n])
		}
		delete(free, n)
		want := m.accepted[n]
		if wasParked {
			want = t.records[n]
		} else if n > t.seen {
			for older := range free {
				if older > t.seen && older < n {
					return fmt.Errorf("%s gets %d before %d", t.name, n, older)
				}
			}
			t.seen = n
		}
		if err := equal(r, want); err != nil {
			return err
		}
		h.numbers = append(h.numbers, n)
	}
	t.held = append(t.held, h)
	return nil
}

func equal(got, want queue.Record) error {
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		return fmt.Errorf("the record\n%s\nhas become\n%s", w, g)
	}
	return nil
}

// end gives a held group back, in one way or another.
func (m *model) end(t *modelTarget, o operation) error {
	if len(t.held) == 0 {
		return nil
	}
	at := o.a % len(t.held)
	h := t.held[at]
	t.held = slices.Delete(t.held, at, at+1)
	records := slices.Clone(h.group.Records)
	switch o.name {
	case "nak":
		m.returned = time.Now()
		err := h.group.NakWithDelay(time.Duration(o.b) * time.Second)
		time.Sleep(time.Millisecond) // it is on its way
		return err
	case "park":
		for i, n := range h.numbers {
			records[i].Attempts++
			records[i].Destination = fmt.Sprint("device", o.b)
			t.records[n], t.places[n] = records[i], parked
		}
		if err := m.q.Park(m.ctx, t.name, queue.Parked{Records: records, Due: time.Now(), Reason: "failed"}); err != nil {
			return err
		}
	case "dead-letter":
		for i, n := range h.numbers {
			if err := m.q.DeadLetter(m.ctx, t.name, &records[i], fmt.Sprint("reason", n)); err != nil {
				return err
			}
			t.records[n], t.places[n] = records[i], dead
			t.letters = append(t.letters, n)
		}
	default:
		for _, n := range h.numbers {
			delete(t.places, n)
		}
	}
	return h.group.Ack()
}

// letter reads the dead letters, and replays or deletes some.
func (m *model) letter(t *modelTarget, o operation) error {
	var letters []queue.DeadLetter
	for letter, err := range m.q.DeadLetters(m.ctx, queue.DeadLetterFilter{Target: t.name}) {
		if err != nil {
			return err
		}
		letters = append(letters, letter)
	}
	if len(letters) != len(t.letters) {
		return fmt.Errorf("%s has %d dead letters, not %d", t.name, len(letters), len(t.letters))
	}
	for i, n := range t.letters {
		if letters[i].Target != t.name || letters[i].Reason != fmt.Sprint("reason", n) {
			return fmt.Errorf("dead letter %d of %s: %+v", n, t.name, letters[i])
		}
		if err := equal(letters[i].Record, t.records[n]); err != nil {
			return err
		}
	}
	from := min(o.a, len(letters))
	to := min(from+o.b, len(letters))
	chosen, numbers := letters[from:to], slices.Clone(t.letters[from:to])
	t.letters = slices.Delete(t.letters, from, to)
	if o.name == "delete" {
		for i, n := range numbers {
			delete(t.places, n)
			for range 1 + o.c%2 { // it may be gone already
				if err := m.q.DeleteDeadLetter(m.ctx, chosen[i].Number); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, n := range numbers {
		r := t.records[n]
		r.Attempts, r.Replayed = 0, time.UnixMilli(time.Now().UnixMilli())
		t.records[n], t.places[n] = r, parked
	}
	return errors.Join(m.q.Replay(m.ctx, chosen)...)
}

// abandon lets the time pass in which held groups are to be acknowledged.
func (m *model) abandon() error {
	for _, t := range m.targets {
		t.held = nil
	}
	time.Sleep(queue.AckWait + 2*time.Second)
	return nil
}

// remove takes a target out of the configuration, and puts it in again. A target
// that was dropped in between starts with what waits for the other.
func (m *model) remove(t *modelTarget, o operation) error {
	other := m.targets[1-o.target]
	if len(t.in(waiting))+len(t.in(parked)) == 0 {
		return nil // it may be forgotten at any time
	}
	t.close()
	if err := m.use(other.name); err != nil {
		return err
	}
	if t.news != nil {
		t.close()
	}
	for range o.a {
		if err := m.accept(identityOf(len(m.accepted)), false); err != nil {
			return err
		}
	}
	if o.name == "drop" && len(t.letters) == 0 { // which would stay, and be in two places
		if err := m.q.Drop(m.ctx, t.name); err != nil {
			return err
		}
		maps.DeleteFunc(t.places, func(_ int, p place) bool { return p != dead })
		first := other.first()
		for n := first; n >= 0 && n < len(m.accepted); n++ {
			if t.places[n] == "" {
				t.places[n] = waiting
			}
		}
		t.seen = first - 1
	}
	if err := m.use("a", "b"); err != nil {
		return err
	}
	return m.abandon()
}

// extend keeps what is held.
func (m *model) extend() error {
	for _, t := range m.targets {
		for _, h := range t.held {
			if time.Since(h.extended) < queue.AckWait/3 {
				continue
			}
			if err := h.group.InProgress(); err != nil {
				return err
			}
			h.extended = time.Now()
		}
	}
	return nil
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
	first := -1
	for n := range t.in(waiting) {
		if first < 0 || n < first {
			first = n
		}
	}
	return first
}

// compare compares what the queue reports with the map.
func (m *model) compare() error {
	if err := m.extend(); err != nil {
		return err
	}
	st, err := m.q.Stats(m.ctx, []string{"a", "b"})
	if err != nil {
		return err
	}
	stored := 0 // what one of them still has to get, and what came after it
	for _, t := range m.targets {
		want := queue.TargetStats{Waiting: uint64(len(t.in(waiting))), Parked: uint64(len(t.in(parked))), Dead: uint64(len(t.in(dead)))}
		if got := st.Targets[t.name]; got != want {
			return fmt.Errorf("%s has %+v, not %+v", t.name, got, want)
		}
		if first := t.first(); first >= 0 {
			stored = max(stored, len(m.accepted)-first)
		}
	}
	// Nothing is removed for a while after something was returned.
	if got := int(st.Waiting); got < stored || got > stored && time.Since(m.returned) > queue.AckWait {
		return fmt.Errorf("%d are stored, not %d", got, stored)
	}
	return nil
}

// drain gives every target everything that is there for it.
func (m *model) drain() error {
	if err := m.abandon(); err != nil {
		return err
	}
	for _, t := range m.targets {
		for _, p := range []place{waiting, parked} {
			for len(t.in(p)) > 0 {
				if err := m.take(t, p == parked, 100); err != nil {
					return err
				}
				for len(t.held) > 0 {
					if err := m.end(t, operation{name: "ack"}); err != nil {
						return err
					}
				}
			}
			if err := m.take(t, p == parked, 1); err != nil {
				return err
			}
		}
	}
	time.Sleep(queue.AckWait + 2*time.Second)
	return m.compare()
}

func identityOf(n int) (id notification.Identity) {
	binary.BigEndian.PutUint64(id[:], uint64(n+1))
	return id
}
