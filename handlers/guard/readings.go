// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import "math"

// hasReading says whether s has a reading that is g or below it.
//
// The readings are not listed: there are too many. It is one walk over the
// spelling with all of them together, as a finite automaton does it. A server
// that resolves a path has a stack of segments. Those at the bottom are the
// first ones of g, on top of them are foreign ones. What there is to keep of
// them is, for each number of segments of g, the fewest foreign ones that any
// reading has on top of them: whatever leads from more of them to the guarded
// path leads there from fewer as well. Each segment can be
//
//   - foreign: one more,
//   - the next one of g, when there are no foreign ones: one more of g,
//   - nothing, if there are no more than dots and blanks in it: none more,
//   - what takes away the segment before it, if it has two dots or more: one
//     less. If that is one of g, there is another reading, in which it came as
//     a foreign one,
//   - a host, if it follows an empty one at the root, as in //host/path: none more.
//
// When the last segment of g is complete, the answer is there. What follows
// does not matter, because there are readings in which it takes nothing away.
func (g *guarded) hasReading(s spelling) bool {
	w := walk{guarded: g, levels: make([]level, len(g.segments))}
	for i := range w.levels {
		w.levels[i] = nobody
	}
	w.levels[0] = begin(0)
	for i := range s {
		c := s[i].c
		if c <= removable || c&optional != 0 || ends(c) {
			if w.arrived() {
				return true
			}
		}
		if c > removable {
			w.step(c&^optional, c&optional != 0)
		}
	}
	return w.arrived()
}

// ends says whether there is a reading in which the segment, or the whole path,
// ends before c.
func ends(c rune) bool {
	return c == separator || c == maybe || c == ';' || c == '?' || c == '#'
}

// walk is where all readings together are.
type walk struct {
	guarded *guarded
	levels  []level // by how many segments of guarded are at the bottom of the stack
	begun   bool    // there was a separator
	emptied bool    // in a reading that is in the parameters of an empty segment at the root
}

// level are the readings with a certain number of segments of the guarded path
// at the bottom of the stack. Its counts are the fewest foreign segments on top
// of them, before the present one, by what the present segment is so far.
type level struct {
	dots    [3]int32 // no more than blanks and no, one, two or more dots
	text    int32    // more than that
	behind  int32    // something to leave out: parameters, with their segment counted, or a host
	spelled uint64   // without foreign segments: bit n is set if it is n characters of the next guarded one
}

// never is the count if there is no such reading.
const never = math.MaxInt32 / 2

var nobody = level{dots: [3]int32{never, never, never}, text: never, behind: never}

// begin is a level at the beginning of a segment.
func begin(foreign int32) level {
	l := nobody
	l.dots[0] = foreign
	if foreign == 0 {
		l.spelled = 1
	}
	return l
}

// join adds the readings of other to those of l.
func (l *level) join(other *level) {
	for i := range l.dots {
		l.dots[i] = min(l.dots[i], other.dots[i])
	}
	l.text = min(l.text, other.text)
	l.behind = min(l.behind, other.behind)
	l.spelled |= other.spelled
}

// with is l after c as a character of the present segment.
func (l *level) with(c rune, segment *segment) level {
	next := level{dots: nobody.dots, text: l.text, behind: l.behind, spelled: l.spelled & segment.places[c] << 1}
	switch c {
	case '.':
		next.dots[1], next.dots[2] = l.dots[0], min(l.dots[1], l.dots[2])
		next.spelled |= l.spelled & segment.complete
	case blank:
		next.dots = l.dots
		next.spelled |= l.spelled & (segment.complete | 1)
	default:
		next.text = min(l.text, l.bare())
	}
	return next
}

// bare is the count of readings in which the present segment can be nothing.
func (l *level) bare() int32 {
	return min(l.dots[0], l.dots[1], l.dots[2])
}

// ended is the count if the present segment ends here and is not a guarded one.
func (l *level) ended() int32 {
	count := min(l.text+1, l.bare(), l.behind)
	if l.dots[2] > 0 {
		count = min(count, l.dots[2]-1)
	}
	return count
}

// arrived says whether there is a reading in which the guarded path is complete
// if the present segment ends here.
func (w *walk) arrived() bool {
	last := len(w.levels) - 1
	return w.levels[last].spelled&w.guarded.segments[last].complete != 0
}

// step goes over c in each of its meanings.
func (w *walk) step(c rune, optional bool) {
	if c == separator || c == maybe || c == ';' {
		w.end(c, optional)
		return
	}
	for i := range w.levels {
		l := &w.levels[i]
		next := l.with(c, &w.guarded.segments[i])
		if optional {
			next.join(l)
		}
		*l = next
	}
}

// end goes over c, which ends the present segment in some of its meanings.
func (w *walk) end(c rune, optional bool) {
	emptied := w.emptied || w.begun && w.levels[0].bare() == 0
	complete := false
	for i := range w.levels {
		l, segment := &w.levels[i], &w.guarded.segments[i]
		ended := l.ended()
		if complete {
			ended = 0
		}
		complete = l.spelled&segment.complete != 0

		next := nobody
		if c != separator {
			next = l.with(c, segment)
		}
		if optional {
			next.join(l)
		}
		if c == ';' {
			next.behind = ended // as few as before or less
		} else {
			beginning := begin(ended)
			next.join(&beginning)
		}
		*l = next
	}
	if c == ';' {
		w.emptied = emptied
		return
	}
	if emptied {
		w.levels[0].behind = 0
	}
	w.begun, w.emptied = true, w.emptied && c == maybe
}
