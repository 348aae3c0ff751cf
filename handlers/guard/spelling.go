// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import "unicode/utf8"

// spelling is a path in ASCII with all its escapes decoded, however deep they
// are nested. Its characters are themselves, in small letters, but for these.
// Whatever is 0 or less is removable.
type spelling []rune

const (
	separator = '/'  // a plain slash: separates segments
	maybe     = '\\' // separates segments, or is a character like others
	blank     = ' '
	removable = 0 // some take it out, some take it for the end of the path
)

// spell reads path and appends it to s, which should be empty. It says what of
// the dialect was used: without the rest of it, the spelling would be the same.
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
// proportion to the length of path, and so is the length of the spelling.
func (d dialect) spell(s spelling, path string) (_ spelling, used dialect) {
	var array [32]rune
	todo := array[:0] // what to put next, the last one first
	for i := range len(path) {
		if path[i] == separator {
			s = append(s, separator)
			continue
		}
		todo = append(todo, octet(path[i]))
		for len(todo) > 0 {
			c := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			complete := true
			if c < 0 {
				s, c, complete = d.sequence(s, byte(-c), &used)
			}
			switch {
			case !complete:
			case c >= utf8.RuneSelf:
				todo = d.appendForms(todo, c, &used)
			default:
				s = s.put(c)
				if start, value, ok := s.escape(); ok {
					s = s[:start]
					todo = append(todo, value)
				}
			}
		}
	}
	return s, used
}

// octet is a byte on its way into a spelling: ASCII as it is, a byte of a UTF-8
// sequence as a negative number. Positive ones from 0x80 on are characters.
func octet(b byte) rune {
	if b < utf8.RuneSelf {
		return rune(b)
	}
	return -rune(b)
}

// put appends the ASCII character c in the form that it has in a spelling. One
// removable at a place is enough.
func (s spelling) put(c rune) spelling {
	switch {
	case 'A' <= c && c <= 'Z':
		c += 'a' - 'A'
	case c == '/':
		c = maybe
	case c == '+': // as in the encoding of forms
		c = blank
	case c < ' ' || c == 0x7F:
		c = removable
		if len(s) > 0 && s[len(s)-1] == removable {
			return s
		}
	}
	return append(s, c)
}

// escape says whether s ends in an escape: %70, or %u0070 as Microsoft and old
// JavaScript have it. It gives where that starts and what it stands for.
// Removable characters within do not hide it.
func (s spelling) escape() (start int, value rune, ok bool) {
	at := len(s) - 1
	for digits := range 4 {
		digit := s.hexDigit(at)
		if digit < 0 {
			return 0, 0, false
		}
		value |= digit << (4 * digits)
		at = s.before(at)
		if digits == 1 && at >= 0 && s[at] == '%' {
			return at, octet(byte(value)), true
		}
	}
	if at < 0 || s[at] != 'u' {
		return 0, 0, false
	}
	at = s.before(at)
	return at, value, at >= 0 && s[at] == '%'
}

// before is the place of the character before the one at i that is not
// removable, or -1. There are never more than three between two others.
func (s spelling) before(i int) int {
	for i--; i >= 0 && s[i] <= removable; i-- {
	}
	return i
}

// hexDigit is the value of s[i], or -1.
func (s spelling) hexDigit(i int) rune {
	switch {
	case i < 0:
	case '0' <= s[i] && s[i] <= '9':
		return s[i] - '0'
	case 'a' <= s[i] && s[i] <= 'f':
		return s[i] - 'a' + 10
	}
	return -1
}
