// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"unicode/utf16"
	"unicode/utf8"
)

// unescape appends to dst what the inside of a JSON string, as the scanner
// passed it, stands for. It stops where limit bytes are there or a few more.
// Surrogates without their other half and bytes that are not UTF-8 become
// U+FFFD. exact says that the whole string was read and nothing so replaced.
func unescape(dst, inner []byte, limit int) (decoded []byte, exact bool) {
	exact = true
	for len(inner) > 0 {
		if len(dst) >= limit {
			return dst, false
		}
		switch c := inner[0]; {
		case c == '\\':
			r, n := unescapeRune(inner)
			if utf16.IsSurrogate(r) {
				exact = false
			}
			dst = utf8.AppendRune(dst, r) // U+FFFD for a surrogate
			inner = inner[n:]
		case c < utf8.RuneSelf:
			n := 1
			for n < len(inner) && n < limit-len(dst) && inner[n] < utf8.RuneSelf && inner[n] != '\\' {
				n++
			}
			dst = append(dst, inner[:n]...)
			inner = inner[n:]
		default:
			r, n := utf8.DecodeRune(inner)
			if r == utf8.RuneError && n == 1 {
				exact = false
			}
			dst = utf8.AppendRune(dst, r)
			inner = inner[n:]
		}
	}
	return dst, exact
}

// unescapeRune returns the character that the escape at the start of inner
// stands for, and how many bytes the escape is long. A surrogate without its
// other half comes as it is.
func unescapeRune(inner []byte) (rune, int) {
	switch inner[1] {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r := hexRune(inner[2:6])
		if !utf16.IsSurrogate(r) {
			return r, 6
		}
		if len(inner) >= 12 && inner[6] == '\\' && inner[7] == 'u' {
			if pair := utf16.DecodeRune(r, hexRune(inner[8:12])); pair != utf8.RuneError {
				return pair, 12
			}
		}
		return r, 6
	default:
		return rune(inner[1]), 2
	}
}

func hexRune(digits []byte) (r rune) {
	for _, c := range digits {
		if isDigit(c) {
			r = r<<4 | rune(c-'0')
		} else {
			r = r<<4 | rune(c|0x20-'a'+10)
		}
	}
	return r
}
