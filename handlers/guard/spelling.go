// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import "unicode/utf8"

// spelling is a path with all its escapes decoded, however deep they are
// nested, in ASCII.
type spelling []element

// element is one character of a spelling, or what else there may be.
type element struct {
	c     rune  // itself, in small letters, but for the ones below
	begun begun // the escapes that are not complete behind it
	back  int32 // where the solid one before it is: neither removable nor optional; or -1
}

const (
	separator = '/'  // a plain slash: separates segments
	maybe     = '\\' // separates segments, or is a character like others
	blank     = ' '

	// Some take it out, some take it for the end of the path. So is every
	// negative one, which is a UTF-8 sequence that misses bytes.
	removable = 0

	// With this flag it is the character, or removable.
	optional = 1 << 24
)

// speller makes a spelling.
//
// A slash that was encoded becomes a maybe, so that the reading in which it
// stayed encoded is not lost. For other characters nothing is lost: an escape
// that stays as it is makes its segment one that is not guarded, and this every
// segment may be (see guarded.hasReading).
//
// One pass finds all levels of escapes: each character is put on top of those
// before it, and when it completes an escape, then what the escape stands for
// takes its place and may complete another one. Escapes do not overlap, so the
// order in which they are decoded does not matter. The number of steps is in
// proportion to the length of the path.
type speller struct {
	spelled spelling
	todo    []rune // what to put next, the last one first: see octet; ASCII may be optional
	torn    bool   // there is an escape that may have an optional character in it
}

// spell makes the spelling of path. There is none if path has an escape that
// may have an optional character in it: what else there is of such a path
// depends on which of them are taken out, when and by whom.
func (s *speller) spell(path string) (_ spelling, ok bool) {
	s.spelled = make(spelling, 0, len(path))
	for i := 0; i < len(path) && !s.torn; i++ {
		if path[i] == separator {
			s.put(separator)
			continue
		}
		s.todo = append(s.todo[:0], octet(path[i]))
		for len(s.todo) > 0 {
			c := s.todo[len(s.todo)-1]
			s.todo = s.todo[:len(s.todo)-1]
			switch {
			case c < 0:
				s.sequence(byte(-c))
			case c&optional == 0 && c >= utf8.RuneSelf:
				s.forms(c)
			default:
				s.put(simple(c&^optional) | c&optional)
				s.decode()
			}
		}
	}
	return s.spelled, !s.torn
}

// octet is a byte on its way into a spelling: ASCII as it is, a byte of a UTF-8
// sequence as a negative number. Positive ones from 0x80 on are characters.
func octet(b byte) rune {
	if b < utf8.RuneSelf {
		return rune(b)
	}
	return -rune(b)
}

// simple is the element for the ASCII character c.
func simple(c rune) rune {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case c == '/':
		return maybe
	case c == '+': // as in the encoding of forms
		return blank
	case c < ' ' || c == 0x7F:
		return removable
	}
	return c
}

// put appends c. One removable at a place is enough.
func (s *speller) put(c rune) {
	next := element{c: c, back: -1}
	if c&^optional == removable {
		next.c = removable
	}
	if top := len(s.spelled) - 1; top >= 0 {
		last := &s.spelled[top]
		if next.c == removable && last.c == removable {
			return
		}
		next.begun, next.back = last.begun, last.back
		if last.solid() {
			next.back = int32(top)
		}
	}
	next.begun = next.begun.with(next.c)
	s.spelled = append(s.spelled, next)
}

// solid says whether the character is there for everybody.
func (e *element) solid() bool { return e.c > removable && e.c&optional == 0 }
