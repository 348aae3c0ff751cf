// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import "unicode/utf8"

// normalized is a path in ASCII with all its escapes decoded, however deeply
// they are nested.
type normalized []element

// element is one character of a normalized path, or one of the special values
// below.
type element struct {
	c     rune  // the character in lower case, or one of those below
	begun begun // the escapes that are incomplete after it
	back  int32 // the index of the last solid element before it (neither removable nor optional), or -1
}

const (
	separator = '/'  // a plain slash: separates segments
	maybe     = '\\' // separates segments, or is an ordinary character
	blank     = ' '

	// Some servers remove it, others take it for the end of the path. The same
	// holds for every negative value, which is an incomplete UTF-8 sequence.
	removable = 0

	// With this flag the character may be kept or removed.
	optional = 1 << 24
)

// normalizer normalizes a path.
//
// An encoded slash becomes a maybe, so that the interpretation in which it
// stays encoded is not lost. For other characters nothing is lost: an escape
// that is not decoded makes its segment an unguarded one, and every segment may
// be that (see guarded.hasInterpretation).
//
// One pass decodes all levels of escapes: each character is appended to those
// before it, and when it completes an escape, the character that the escape
// stands for replaces it and may complete another one. Escapes do not overlap,
// so the order in which they are decoded does not matter. The number of steps
// is proportional to the length of the path.
type normalizer struct {
	out       normalized
	todo      []rune // what to put next, in reverse order: see octet; ASCII may be optional
	ambiguous bool   // there is an escape that may contain an optional character
}

// normalize normalizes path. ok is false if an escape may contain an optional
// character: what such a path means depends on which of these are removed, when
// and by whom.
func (n *normalizer) normalize(path string) (_ normalized, ok bool) {
	n.out = make(normalized, 0, len(path))
	for i := 0; i < len(path) && !n.ambiguous; i++ {
		if path[i] == separator {
			n.put(separator)
			continue
		}
		n.todo = append(n.todo[:0], octet(path[i]))
		for len(n.todo) > 0 {
			c := n.todo[len(n.todo)-1]
			n.todo = n.todo[:len(n.todo)-1]
			switch {
			case c < 0:
				n.sequence(byte(-c))
			case c&optional == 0 && c >= utf8.RuneSelf:
				n.putASCIIForms(c)
			default:
				n.put(simple(c&^optional) | c&optional)
				n.decode()
			}
		}
	}
	return n.out, !n.ambiguous
}

// octet represents a byte in todo: ASCII as it is, a byte of a UTF-8 sequence
// as a negative number. Positive values from 0x80 on are characters.
func octet(b byte) rune {
	if b < utf8.RuneSelf {
		return rune(b)
	}
	return -rune(b)
}

// simple returns the element for the ASCII character c.
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

// put appends c. Consecutive removable elements become one.
func (n *normalizer) put(c rune) {
	next := element{c: c, back: -1}
	if c&^optional == removable {
		next.c = removable
	}
	if top := len(n.out) - 1; top >= 0 {
		last := &n.out[top]
		if next.c == removable && last.c == removable {
			return
		}
		next.begun, next.back = last.begun, last.back
		if last.solid() {
			next.back = int32(top)
		}
	}
	next.begun = next.begun.with(next.c)
	n.out = append(n.out, next)
}

// solid reports whether the character is there in every interpretation.
func (e *element) solid() bool { return e.c > removable && e.c&optional == 0 }
