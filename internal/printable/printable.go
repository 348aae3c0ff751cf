// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package printable makes untrusted text safe for a terminal: names, senders
// and subjects can neither control the terminal nor disguise what they are.
package printable

import (
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Unsafe reports whether r controls a terminal (C0, DEL, C1), ends a line for
// some programs only (U+2028, U+2029), shows text in another order than it has
// (U+202A to U+202E, U+2066 to U+2069), or is a tag, which nobody sees. Joiners
// and direction marks are safe: emoji, Persian, Arabic and Hebrew need them.
func Unsafe(r rune) bool {
	return unicode.IsControl(r) || 0x2028 <= r && r <= 0x202E || 0x2066 <= r && r <= 0x2069 || 0xE0000 <= r && r <= 0xE007F
}

// Text returns text with everything unsafe in it written as \u and its code in
// UTF-16, as in JSON, and what is not UTF-8 as \ufffd. Tabs and line feeds stay.
func Text(text string) string { return string(appendText(nil, []byte(text))) }

func appendText(to, text []byte) []byte {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			to = append(to, `\ufffd`...)
		case r == '\n' || r == '\t' || !Unsafe(r):
			to = append(to, text[:n]...)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			to = fmt.Appendf(to, `\u%04x\u%04x`, high, low)
		default:
			to = fmt.Appendf(to, `\u%04x`, r)
		}
		text = text[n:]
	}
	return to
}

// Writer writes to another one what [Text] makes of it. JSON keeps its meaning.
// It is not safe for concurrent use.
type Writer struct {
	to      io.Writer
	partial []byte // the beginning of a character
}

// NewWriter returns a writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{to: w} }

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	text := append(w.partial, p...)
	w.partial = nil
	if cut := len(text) - incomplete(text); cut < len(text) {
		w.partial = append(w.partial, text[cut:]...)
		text = text[:cut]
	}
	if _, err := w.to.Write(appendText(nil, text)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// incomplete is how many bytes at the end of text begin a character.
func incomplete(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if last := text[len(text)-n:]; utf8.RuneStart(last[0]) {
			if utf8.FullRune(last) {
				return 0
			}
			return n
		}
	}
	return 0
}
