// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import "math"

// hasInterpretation reports whether s has an interpretation that is g or below
// it.
//
// The interpretations are not listed: there are too many. One walk over the
// normalized path follows all of them together, as a finite automaton does. A
// server that resolves a path has a stack of segments. Those at the bottom are
// the first ones of g, on top of them are others. All that must be kept is, for
// each number of segments of g, the fewest others that any interpretation has
// on top of them: anything that leads from more of them to the guarded path
// leads there from fewer as well. Each segment can be
//
//   - another one: one more,
//   - the next one of g, if there are no others: one more of g,
//   - nothing, if it consists of dots and blanks: none more,
//   - the removal of the segment before it, if it has two dots or more: one
//     less. If that is one of g, there is another interpretation, in which it
//     was another one,
//   - a host, if it follows an empty one at the root, as in //host/path: none more.
//
// When the last segment of g is complete, the answer is known. What follows
// does not matter, because there are interpretations in which it removes
// nothing.
func (g *guarded) hasInterpretation(s normalized) bool {
	w := walk{guarded: g, levels: make([]level, len(g.segments))}
	for i := range w.levels {
		w.levels[i] = noLevel
	}
	w.levels[0] = beginning(0)
	for i := range s {
		c := s[i].c
		if c <= removable || c&optional != 0 || ends(c) {
			if w.matches() {
				return true
			}
		}
		if c > removable {
			w.step(c&^optional, c&optional != 0)
		}
	}
	return w.matches()
}

// ends reports whether there is an interpretation in which the segment, or the
// whole path, ends before c.
func ends(c rune) bool {
	return c == separator || c == maybe || c == ';' || c == '?' || c == '#'
}

// walk is the state of all interpretations together.
type walk struct {
	guarded *guarded
	levels  []level // by how many segments of guarded are at the bottom of the stack
	begun   bool    // there was a separator
	emptied bool    // in an interpretation that is in the parameters of an empty segment at the root
}

// level holds the interpretations with a certain number of segments of the
// guarded path at the bottom of the stack. Its counts are the fewest other
// segments on top of them, before the current one, by what the current segment
// consists of.
type level struct {
	dots    [3]int32 // only blanks and zero, one, or at least two dots
	text    int32    // more than that
	skipped int32    // something to skip: parameters, with their segment counted, or a host
	matched uint64   // without other segments: bit n is set if n characters of the next guarded one have matched
}

// never is the count if there is no such interpretation.
const never = math.MaxInt32 / 2

var noLevel = level{dots: [3]int32{never, never, never}, text: never, skipped: never}

// beginning is a level at the beginning of a segment.
func beginning(others int32) level {
	l := noLevel
	l.dots[0] = others
	if others == 0 {
		l.matched = 1
	}
	return l
}

// join adds the interpretations of other to those of l.
func (l *level) join(other *level) {
	for i := range l.dots {
		l.dots[i] = min(l.dots[i], other.dots[i])
	}
	l.text = min(l.text, other.text)
	l.skipped = min(l.skipped, other.skipped)
	l.matched |= other.matched
}

// with returns l after c as a character of the current segment.
func (l *level) with(c rune, segment *segment) level {
	next := level{dots: noLevel.dots, text: l.text, skipped: l.skipped, matched: l.matched & segment.places[c] << 1}
	switch c {
	case '.':
		next.dots[1], next.dots[2] = l.dots[0], min(l.dots[1], l.dots[2])
		next.matched |= l.matched & segment.complete
	case blank:
		next.dots = l.dots
		next.matched |= l.matched & (segment.complete | 1)
	default:
		next.text = min(l.text, l.empty())
	}
	return next
}

// empty is the count of interpretations in which the current segment can be
// nothing.
func (l *level) empty() int32 {
	return min(l.dots[0], l.dots[1], l.dots[2])
}

// ended is the count if the current segment ends here and is not a guarded one.
func (l *level) ended() int32 {
	count := min(l.text+1, l.empty(), l.skipped)
	if l.dots[2] > 0 {
		count = min(count, l.dots[2]-1)
	}
	return count
}

// matches reports whether there is an interpretation in which the guarded path
// is complete if the current segment ends here.
func (w *walk) matches() bool {
	last := len(w.levels) - 1
	return w.levels[last].matched&w.guarded.segments[last].complete != 0
}

// step consumes c in each of its meanings.
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

// end consumes c, which ends the current segment in some of its meanings.
func (w *walk) end(c rune, optional bool) {
	emptied := w.emptied || w.begun && w.levels[0].empty() == 0
	complete := false
	for i := range w.levels {
		l, segment := &w.levels[i], &w.guarded.segments[i]
		ended := l.ended()
		if complete {
			ended = 0
		}
		complete = l.matched&segment.complete != 0

		next := noLevel
		if c != separator {
			next = l.with(c, segment)
		}
		if optional {
			next.join(l)
		}
		if c == ';' {
			next.skipped = ended // as few as before or less
		} else {
			beginning := beginning(ended)
			next.join(&beginning)
		}
		*l = next
	}
	if c == ';' {
		w.emptied = emptied
		return
	}
	if emptied {
		w.levels[0].skipped = 0
	}
	w.begun, w.emptied = true, w.emptied && c == maybe
}
