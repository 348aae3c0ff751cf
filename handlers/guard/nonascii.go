// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Non-ASCII characters are normalized here. A form of an ASCII character
// becomes that character as an optional one: it may be kept or removed. All
// others are removable. They may also be kept as they are, but then their
// segment is not a guarded one.

// sequence takes one byte, from 0x80 on, of a UTF-8 sequence. Overlong
// sequences count, as they do for careless decoders: C0 AF and FC 80 80 80 80
// AF are slashes. So do sequences with removable elements within.
//
// An incomplete sequence is one negative element of the output. If it is never
// completed, it stays there.
func (n *normalizer) sequence(b byte) {
	if b >= 0xC0 {
		n.closeSequences()
		for length, payload := 2, byte(0x1F); length <= 6; length, payload = length+1, payload>>1 {
			if b&^payload == ^payload<<1 {
				n.put(unfinished(length-1, rune(b&payload)))
				return
			}
		}
		n.put(removable)
		return
	}
	at := len(n.out) - 1
	if at > 0 && n.out[at].c == removable {
		at--
	}
	if at < 0 || n.out[at].c >= removable {
		n.put(removable)
		return
	}
	missing, value := -n.out[at].c>>24-1, -n.out[at].c&(1<<24-1)
	value = min(value<<6|rune(b&0x3F), utf8.MaxRune+1)
	n.out = n.out[:at]
	switch {
	case missing > 0:
		n.put(unfinished(int(missing), value))
	case value < utf8.RuneSelf:
		n.todo = append(n.todo, value|optional)
	default:
		n.todo = append(n.todo, value)
	}
}

// closeSequences replaces removable elements and incomplete sequences at the
// end by one removable element.
func (n *normalizer) closeSequences() {
	at := len(n.out)
	for at > 0 && n.out[at-1].c <= removable {
		at--
	}
	if at < len(n.out) {
		n.out = n.out[:at]
		n.put(removable)
	}
}

// unfinished returns an incomplete UTF-8 sequence as a negative number.
func unfinished(missing int, value rune) rune {
	return -(rune(missing)<<24 | value)
}

// putASCIIForms takes a character that is not ASCII.
func (n *normalizer) putASCIIForms(c rune) {
	var buf [utf8.UTFMax]byte
	form := utf8.AppendRune(buf[:0], c)
	// Unicode Standard Annex 15, NFKD: p for a fullwidth p, .. for a two dot
	// leader, e and an accent for é.
	if parts := norm.NFKD.Properties(form).Decomposition(); parts != nil {
		form = parts
	}
	begin := len(n.todo)
	for len(form) > 0 {
		c, size := utf8.DecodeRune(form)
		form = form[size:]
		n.todo = append(n.todo, asciiForm(c)|optional)
	}
	slices.Reverse(n.todo[begin:])
}

// asciiForm returns the ASCII character that some servers take c for, or
// removable. c has no decomposition.
func asciiForm(c rune) rune {
	switch {
	case c < utf8.RuneSelf:
		return c
	case c == '\u0131': // ı, whose capital is an ASCII letter
		return 'i'
	case c == '\u2044' || c == '\u2215' || c == '\u2216': // fraction slash, division slash, set minus
		return '/'
	}
	return removable
}
