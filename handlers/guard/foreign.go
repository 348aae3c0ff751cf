// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Characters that are not ASCII come to a spelling here. If one is another form
// of something in ASCII, it is optional: taken for that, or removable. All
// others are removable. They may be characters like others too, but then their
// segment is not a guarded one.

// sequence takes one byte, from 0x80 on, of a UTF-8 sequence. Sequences that
// are longer than need be count, as they do for careless decoders: C0 AF and
// FC 80 80 80 80 AF are slashes. So do those with something removable within.
//
// A sequence that misses bytes is one negative element of the spelling. If it
// never gets them, it stays there.
func (s *speller) sequence(b byte) {
	if b >= 0xC0 {
		s.settle()
		for length, payload := 2, byte(0x1F); length <= 6; length, payload = length+1, payload>>1 {
			if b&^payload == ^payload<<1 {
				s.put(unfinished(length-1, rune(b&payload)))
				return
			}
		}
		s.put(removable)
		return
	}
	at := len(s.spelled) - 1
	if at > 0 && s.spelled[at].c == removable {
		at--
	}
	if at < 0 || s.spelled[at].c >= removable {
		s.put(removable)
		return
	}
	missing, value := -s.spelled[at].c>>24-1, -s.spelled[at].c&(1<<24-1)
	value = min(value<<6|rune(b&0x3F), utf8.MaxRune+1)
	s.spelled = s.spelled[:at]
	switch {
	case missing > 0:
		s.put(unfinished(int(missing), value))
	case value < utf8.RuneSelf:
		s.todo = append(s.todo, value|optional)
	default:
		s.todo = append(s.todo, value)
	}
}

// settle makes one removable of those at the end: what is unfinished stays so.
func (s *speller) settle() {
	at := len(s.spelled)
	for at > 0 && s.spelled[at-1].c <= removable {
		at--
	}
	if at < len(s.spelled) {
		s.spelled = s.spelled[:at]
		s.put(removable)
	}
}

// unfinished is a UTF-8 sequence that misses bytes, as a negative number.
func unfinished(missing int, value rune) rune {
	return -(rune(missing)<<24 | value)
}

// forms takes a character that is not ASCII.
func (s *speller) forms(c rune) {
	var buf [utf8.UTFMax]byte
	form := utf8.AppendRune(buf[:0], c)
	// Unicode Standard Annex 15, NFKD: p for a fullwidth p, .. for a two dot
	// leader, e and an accent for é.
	if parts := norm.NFKD.Properties(form).Decomposition(); parts != nil {
		form = parts
	}
	begin := len(s.todo)
	for len(form) > 0 {
		c, n := utf8.DecodeRune(form)
		form = form[n:]
		s.todo = append(s.todo, asciiForm(c)|optional)
	}
	slices.Reverse(s.todo[begin:])
}

// asciiForm is the ASCII character that c, which has no parts, is for some, or
// removable.
func asciiForm(c rune) rune {
	switch {
	case c < utf8.RuneSelf:
		return c
	case c == '\u0131': // ı, the one whose capital is an ASCII letter
		return 'i'
	case c == '\u2044' || c == '\u2215' || c == '\u2216': // fraction slash, division slash, set minus
		return '/'
	}
	return removable
}
