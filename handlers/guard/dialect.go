// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"iter"
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// dialect is what is made of characters that are not ASCII. They are taken for
// ASCII ones, or are removable, the same in all of the path. They may be
// characters like others too, but then their segment is not a guarded one.
type dialect uint8

const (
	// UTF-8 that is longer than need be is taken: C0 AF and FC 80 80 80 80 AF are slashes.
	overlong dialect = 1 << iota

	// A UTF-8 sequence goes on behind something removable.
	joined

	// Other forms of ASCII characters are taken: fullwidth ones, U+212A (Kelvin), ı.
	forms

	all = overlong | joined | forms
)

// spellings gives path in each dialect that makes a difference: one for nearly
// every path, eight at most.
func spellings(path string) iter.Seq[spelling] {
	return func(yield func(spelling) bool) {
		var buf [256]rune // long enough for what is not hostile
		due := [all + 1]bool{all: true}
		for d := int(all); d >= 0; d-- {
			if !due[d] {
				continue
			}
			s, used := dialect(d).spell(buf[:0], path)
			if !yield(s) {
				return
			}
			for _, part := range []dialect{overlong, joined, forms} {
				if used&part != 0 {
					due[dialect(d)&^part] = true
				}
			}
		}
	}
}

// sequence takes one byte, from 0x80 on, of a UTF-8 sequence, and gives the
// character that it completes. A sequence that still misses bytes is one
// element of s. If it never gets them, it stays there as removable. What d
// decided about is added to used.
func (d dialect) sequence(s spelling, b byte, used *dialect) (_ spelling, c rune, complete bool) {
	if b >= 0xC0 {
		// What was unfinished stays so. One removable is enough for all.
		rest := s[:s.before(len(s))+1]
		if len(rest) < len(s) {
			rest = append(rest, removable)
		}
		for length, payload := rune(2), byte(0x1F); length <= 6; length, payload = length+1, payload>>1 {
			if b&^payload == ^payload<<1 {
				return append(rest, unfinished{length: length, missing: length - 1, value: rune(b & payload)}.element()), 0, false
			}
		}
		return rest, removable, true
	}
	at := len(s) - 1
	for at >= 0 && s[at] == removable && d&joined != 0 {
		at--
	}
	if at < 0 || s[at] >= removable {
		return s, removable, true
	}
	if at < len(s)-1 {
		*used |= joined
	}
	u := unfinishedOf(s[at])
	u.missing--
	u.value = min(u.value<<6|rune(b&0x3F), utf8.MaxRune+1)
	if u.missing > 0 {
		return append(s[:at], u.element()), 0, false
	}
	if int(u.length) != utf8.RuneLen(u.value) {
		*used |= overlong
		if d&overlong == 0 || !utf8.ValidRune(u.value) {
			u.value = removable
		}
	}
	return s[:at], u.value, true
}

// unfinished is a UTF-8 sequence that misses bytes.
type unfinished struct {
	length, missing rune // in bytes
	value           rune // of those that are there
}

// element makes a negative number of it.
func (u unfinished) element() rune { return -(u.length<<27 | u.missing<<24 | u.value) }

func unfinishedOf(element rune) unfinished {
	return unfinished{length: -element >> 27, missing: -element >> 24 & 7, value: -element & (1<<24 - 1)}
}

// appendForms appends what c, which is not ASCII, is another form of, the last
// character first. What is not ASCII then is removable.
func (d dialect) appendForms(todo []rune, c rune, used *dialect) []rune {
	var buf [utf8.UTFMax]byte
	form := utf8.AppendRune(buf[:0], c)
	// Unicode Standard Annex 15, NFKD: p for a fullwidth p, .. for a two dot leader.
	if parts := norm.NFKD.Properties(form).Decomposition(); parts != nil {
		form = parts
	}
	begin := len(todo)
	for len(form) > 0 {
		c, n := utf8.DecodeRune(form)
		form = form[n:]
		c = asciiForm(c)
		if c != removable {
			*used |= forms
		} else if len(todo) > begin && todo[len(todo)-1] == removable {
			continue
		}
		todo = append(todo, c)
	}
	if d&forms == 0 {
		return append(todo[:begin], removable)
	}
	slices.Reverse(todo[begin:])
	return todo
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
		return maybe
	}
	return removable
}
