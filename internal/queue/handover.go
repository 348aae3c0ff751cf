// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// maxCommittedGroups and maxCommittedBytes bound how much of what was
	// committed last is kept for the readers.
	maxCommittedGroups = 1024
	maxCommittedBytes  = 1 << 20
	// handoverWait is how long a reader waits for what is handed over. After
	// that it waits at the store, which may have something that is not new: it
	// gives out again what nobody has acknowledged within [AckWait].
	handoverWait = 5 * time.Second
	// maxUnsettled bounds how many groups of a target are handed over that its
	// position in the store does not include.
	maxUnsettled = 4096
)

// errForgotten means that a group is delivered again although it was
// acknowledged.
var errForgotten = errors.New("the group was returned, or the store has lost it")

// handover gives the readers what was just committed from memory: on its way
// through the store a notification wakes a dozen goroutines more. The rule is
// one number for each target, that of the next group to give out. If that is
// among the groups committed last, it comes from memory; otherwise it comes from
// the store, as for a target that is behind.
//
// The position in the store follows ([Queue.settle]): what was handed over is
// read from the store later, and acknowledged there if the target has
// acknowledged it, many groups together. A reader that gets a group from the store
// that was handed over recognizes it by its number and its content.
//
// Only an embedded store has a handover. From an external one, others read as
// well.
type handover struct {
	seed maphash.Seed
	// unsettled has an element while an acknowledgement has not reached the
	// store.
	unsettled chan struct{}

	mu sync.Mutex
	// end is the number of the last group in the store, or 0 if only the store
	// knows.
	end uint64
	// committed are the last groups, up to end and without a gap.
	committed []committed
	size      int // of these, in bytes
	heads     map[string]*head
	// changed is closed and replaced when readers must look again, if awaited.
	changed chan struct{}
	awaited bool
}

// committed is a stored group.
type committed struct {
	data []byte
	hash uint64
}

// head is how far one target is. The mutex of the handover guards it.
type head struct {
	// next is the number of the group after all that were given out, or 0 if
	// only the store knows.
	next uint64
	// handed are the groups that were given out from memory, until the store
	// has given them out as well, and knows which of them are acknowledged.
	handed map[uint64]*handed
	unread int // of these, by the store
	acked  int // of these, by the target

	// reading is held by readers that ask the store, and alone by who settles:
	// it must get nothing that is new.
	reading sync.RWMutex
	pull    *puller // for settling; guarded by reading
}

// handed is a group that was given out from memory. The mutex of the handover
// guards it.
type handed struct {
	head  *head
	hash  uint64    // of its content
	acked time.Time // when the target acknowledged it
	reply string    // where the store takes its acknowledgement, once it has given it out
}

func newHandover() *handover {
	return &handover{
		seed: maphash.MakeSeed(), unsettled: make(chan struct{}, 1),
		heads: make(map[string]*head), changed: make(chan struct{}),
	}
}

// head finds or makes that of a target. h.mu is held.
func (h *handover) head(target string) *head {
	t := h.heads[target]
	if t == nil {
		t = &head{handed: make(map[uint64]*handed)}
		h.heads[target] = t
	}
	return t
}

// commit notes that a group was stored. It does nothing on nil.
func (h *handover) commit(number uint64, group []byte) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if number != h.end+1 {
		h.clear()
	}
	h.end = number
	for len(h.committed) > 0 && (len(h.committed) >= maxCommittedGroups || h.size+len(group) > maxCommittedBytes) {
		h.size -= len(h.committed[0].data)
		h.committed[0] = committed{}
		h.committed = h.committed[1:]
	}
	if h.isWanted() {
		h.committed = append(h.committed, committed{slices.Clone(group), maphash.Bytes(h.seed, group)})
		h.size += len(group)
	} else {
		h.clear()
	}
	h.wake()
}

// isWanted reports whether a target is near the end. h.mu is held.
func (h *handover) isWanted() bool {
	for _, t := range h.heads {
		if t.next > 0 && t.next+maxCommittedGroups > h.end {
			return true
		}
	}
	return false
}

func (h *handover) clear() { h.committed, h.size = nil, 0 }

// wake makes readers look again. h.mu is held.
func (h *handover) wake() {
	if h.awaited {
		close(h.changed)
		h.changed, h.awaited = make(chan struct{}), false
	}
}

// behind makes the readers of a target read from the store, where its position
// may have changed. What was committed is forgotten: some of it was given out
// already. It does nothing on nil.
func (h *handover) behind(target string) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.head(target).next = 0
	h.clear()
	h.wake()
}

// reset forgets what was committed: the store was opened again, may have lost
// the last groups, and gives their numbers to others. Or it may have stored one
// that it did not confirm. It does nothing on nil.
func (h *handover) reset() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end = 0
	h.clear()
	for _, t := range h.heads {
		t.next = 0
	}
	h.wake()
}

// take gives out up to most groups of up to size bytes together, but at least
// one, and waits for the first. It returns nothing when ctx ends, and when the
// store must be asked.
func (h *handover) take(ctx context.Context, r *Reader, most, size int) []*Group {
	var idle <-chan time.Time
	for ctx.Err() == nil && r.q.isReady() && !r.q.trimming.awaitsOf(r.target) {
		groups, changed := h.next(r, most, size)
		if changed == nil {
			return groups
		}
		if idle == nil {
			timer := time.NewTimer(handoverWait)
			defer timer.Stop()
			idle = timer.C
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-idle:
			return nil
		}
	}
	return nil
}

// next gives out what is in memory. If the target has everything, it returns what
// to wait for.
func (h *handover) next(r *Reader, most, size int) (groups []*Group, changed <-chan struct{}) {
	h.mu.Lock()
	t := h.head(r.target)
	if h.end > 0 && t.next > h.end {
		defer h.mu.Unlock()
		h.awaited = true
		return nil, h.changed
	}
	var given []committed
	if first := h.end - uint64(len(h.committed)) + 1; t.next >= first && t.next <= h.end {
		given = h.committed[t.next-first:]
	}
	for i, c := range given {
		if i > 0 && (i == most || len(c.data) > size) || len(t.handed) >= maxUnsettled {
			given = given[:i]
			break
		}
		size -= len(c.data)
		g := &Group{Sequence: t.next, Behind: h.end - t.next, q: r.q, target: r.target, handed: &handed{head: t, hash: c.hash}}
		t.forget(t.next)
		t.handed[t.next] = g.handed
		t.unread++
		t.next++
		groups = append(groups, g)
	}
	given = slices.Clone(given) // committed ones are removed
	h.mu.Unlock()
	for i, g := range groups {
		var err error
		if g.Records, err = parseGroup(given[i].data); err != nil {
			_ = g.Nak() // the store gives it out, and says what is wrong with it
			groups[i] = nil
		}
	}
	return slices.DeleteFunc(groups, func(g *Group) bool { return g == nil }), nil
}

// read notes that the store gives out a message. It reports whether that was
// handed over before.
func (h *handover) read(target string, msg *nats.Msg) (known bool) {
	meta, err := msg.Metadata()
	if err != nil {
		return false
	}
	number := meta.Sequence.Stream
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.head(target)
	if meta.NumDelivered == 1 { // all before it were given out at least once
		t.next = max(t.next, number+1)
		if h.end == 0 && meta.NumPending == 0 {
			h.end = number
		}
	}
	g := t.handed[number]
	if g == nil {
		return false
	}
	if g.hash != maphash.Bytes(h.seed, msg.Data) { // the number was given to another one
		t.forget(number)
		return false
	}
	if g.reply == "" {
		t.unread--
	}
	g.reply = msg.Reply
	if g.acked.IsZero() { // the target acknowledges it in the store from now on
		t.forget(number)
	}
	return true
}

// toAck are the groups that the store has given out and the target has
// acknowledged.
func (h *handover) toAck(t *head) (numbers []uint64, replies []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.acked == 0 {
		return nil, nil
	}
	for number, g := range t.handed {
		if g.reply != "" {
			numbers, replies = append(numbers, number), append(replies, g.reply)
		}
	}
	return numbers, replies
}

// settled forgets groups that are acknowledged in the store.
func (h *handover) settled(t *head, numbers []uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, number := range numbers {
		t.forget(number)
	}
}

// expire forgets what the store has given to somebody who has not acknowledged
// it. It reports whether something is still to be settled.
func (h *handover) expire(t *head) (unsettled bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for number, g := range t.handed {
		if !g.acked.IsZero() && time.Since(g.acked) > settleAge {
			t.forget(number)
		}
	}
	return t.acked > 0
}

// forget a group. The mutex of the handover is held.
func (t *head) forget(number uint64) {
	g := t.handed[number]
	if g == nil {
		return
	}
	if g.reply == "" {
		t.unread--
	}
	if !g.acked.IsZero() {
		t.acked--
	}
	delete(t.handed, number)
}

// replyOf returns where the store takes the acknowledgement of a group, or "" if
// it has not given it out.
func (h *handover) replyOf(g *handed) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return g.reply
}

// ack notes that the target has acknowledged a group, and returns where the store
// takes that now, or "" if it is told later.
func (h *handover) ack(g *Group) (reply string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if g.handed.reply != "" {
		return g.handed.reply, nil
	}
	t := g.handed.head
	if t.handed[g.Sequence] != g.handed {
		return "", errForgotten
	}
	if g.handed.acked.IsZero() {
		g.handed.acked = time.Now()
		t.acked++
		h.signal()
	}
	return "", nil
}

// nak notes that a group is returned, and returns where the store takes that, or
// "" if it gives the group out like a new one.
func (h *handover) nak(g *Group) (reply string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := g.handed.head; t.handed[g.Sequence] == g.handed {
		t.forget(g.Sequence)
	}
	return g.handed.reply
}

// returned wakes the readers for a group that was returned. It does nothing on
// nil.
func (h *handover) returned() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wake()
}

// signal makes settleLoop look, perhaps once more.
func (h *handover) signal() {
	select {
	case h.unsettled <- struct{}{}:
	default:
	}
}
