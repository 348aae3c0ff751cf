// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import "math"

// hasReading says whether s has a reading that is g or below it.
//
// The readings are not listed: there are too many. It is one walk over the
// spelling that keeps, for all of them together, what is best for getting to
// the guarded path. A server that resolves a path has a stack of segments.
// Those at the bottom are some of g, on top of them are foreign ones. So what
// there is to keep is, for each number of segments of g, the fewest foreign
// ones that any reading has on top of them. Fewer are always better: whatever
// leads from more of them to the guarded path leads there from fewer as well.
//
//   - Any segment may be foreign: one more.
//   - A segment that is, without dots and blanks around it, the next of g: one
//     more of g, if there are no foreign ones.
//   - An empty segment, or one of dots and blanks, may go away: none more.
//   - One with two dots or more may take away the segment before it: one less.
//     If that is one of g, then there is another reading, in which it came as a
//     foreign one.
//   - What follows an empty segment at the root may be a host, as in
//     //host/path: none more.
//
// When the last segment of g is complete, the answer is there. What follows
// does not matter, because there are readings in which it takes nothing away.
func (g *guarded) hasReading(s spelling) bool {
	w := walk{segments: g.segments, levels: make([]level, len(g.segments))}
	w.begin()
	for _, c := range s {
		if ends(c) && w.arrived() {
			return true
		}
		switch {
		case c <= removable:
		case c == separator || c == maybe:
			w.separate(c == maybe)
		case c == ';':
			w.parameters()
		default:
			w.text(c)
		}
	}
	return w.arrived()
}

// ends says whether there is a reading in which the segment, or the whole path,
// ends before c.
func ends(c rune) bool {
	return c <= removable || c == separator || c == maybe || c == ';' || c == '?' || c == '#'
}

// walk is where all readings together are.
type walk struct {
	segments []string
	levels   []level

	// The present segment, in the readings in which each separator was one.
	dots  int
	other bool // has more than dots and blanks
	bare  bool // had nothing else when its parameters began
	first bool // has no separator before it
}

// level is about the readings with a certain number of segments of the guarded
// path. The counts are the fewest foreign segments; never when there is no such
// reading.
type level struct {
	foreign int // before the present segment
	spelled int // how much of the next guarded segment the present one is, or no
	within  int // before the present segment, in readings in which it began before the last maybe
	behind  int // with the present segment, in readings that are in its parameters, or in a host
	next    int // with the present segment
}

const (
	never = math.MaxInt / 2
	no    = -1
)

// begin is the state before the first character: nothing but the root.
func (w *walk) begin() {
	for i := range w.levels {
		w.levels[i] = level{foreign: never, within: never, behind: never}
	}
	w.levels[0].foreign = 0
	w.first = true
}

// arrived says whether the guarded path is complete if the present segment ends here.
func (w *walk) arrived() bool {
	return w.completes(len(w.levels) - 1)
}

// completes says whether the present segment, if it ends here, is the guarded one of level i.
func (w *walk) completes(i int) bool {
	return w.levels[i].foreign == 0 && w.levels[i].spelled == len(w.segments[i])
}

// text adds a character that is not special to the present segment.
func (w *walk) text(c rune) {
	if c == '.' {
		w.dots++
	} else if c != blank {
		w.other = true
	}
	for i := range w.levels {
		l, segment := &w.levels[i], w.segments[i]
		switch {
		case l.spelled == no:
		case l.spelled < len(segment) && rune(segment[l.spelled]) == c:
			l.spelled++
		case l.spelled == len(segment) && (c == '.' || c == blank):
		case l.spelled == 0 && c == blank:
		default:
			l.spelled = no
		}
	}
}

// parameters begins the parameters of the present segment. It may be text too.
func (w *walk) parameters() {
	w.end()
	for i := range w.levels {
		l := &w.levels[i]
		l.behind = min(l.behind, l.next)
	}
	w.bare = w.bare || !w.other
	w.text(';')
}

// separate ends the present segment and begins another one. After a maybe the
// present segment, or its parameters, go on as well.
func (w *walk) separate(maybe bool) {
	w.end()
	host := !w.first && (w.bare || !w.other) && w.levels[0].foreign == 0
	for i := range w.levels {
		l := &w.levels[i]
		within, behind := never, never
		if maybe {
			within, behind = min(l.within, l.foreign), l.behind
		}
		*l = level{foreign: min(l.next, l.within+1, l.behind), within: within, behind: behind}
	}
	if host {
		w.levels[0].behind = 0
	}
	w.dots, w.other, w.bare, w.first = 0, false, false, false
}

// end counts next: what there is if the present segment ends here.
func (w *walk) end() {
	for i := range w.levels {
		w.levels[i].next = w.levels[i].foreign + 1
	}
	for i := range w.levels {
		l := &w.levels[i]
		if !w.other {
			l.next = min(l.next, l.foreign)
		}
		if !w.other && w.dots >= 2 && l.foreign > 0 {
			l.next = min(l.next, l.foreign-1)
		}
		if w.completes(i) && i+1 < len(w.levels) {
			w.levels[i+1].next = 0
		}
	}
}
