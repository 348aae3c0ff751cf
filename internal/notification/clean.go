// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxRaw is how much of a header or snippet is read, in bytes before
// encoded-words are decoded. It is enough to fill [MaxHeader] from any encoding
// that occurs, so that a header of a megabyte costs no more.
const maxRaw = 8192

// clean returns text as one line of at most limit bytes of UTF-8:
//
//   - A run of white space of any kind becomes one space, and none at the ends:
//     tabs, no-break spaces, NEL, U+2028, U+2029, and the line ends of folded
//     headers (RFC 5322, section 2.2.3).
//   - Other control characters (C0, DEL, C1) are left out, as are the ones that
//     show text in another order than it has (U+202A to U+202E, U+2066 to
//     U+2069), "gpj.exe" as "exe.jpg". Joiners and direction marks stay: emoji,
//     Persian, Arabic and Hebrew need them.
//   - A byte that is not UTF-8 becomes U+FFFD.
//   - What exceeds limit is cut off between two characters.
func clean(text []byte, limit int) string {
	var buf [512]byte
	line := buf[:0]
	space := false
	for len(text) > 0 {
		r, n := rune(text[0]), 1
		if r < '!' || r > '~' { // all else stands for itself, which saves half the time
			r, n = utf8.DecodeRune(text)
			if unicode.IsSpace(r) {
				space = len(line) > 0
			}
			if unicode.IsSpace(r) || unicode.IsControl(r) || reorders(r) {
				text = text[n:]
				continue
			}
		}
		text = text[n:]
		whole := len(line)
		if space {
			line = append(line, ' ')
			space = false
		}
		if line = utf8.AppendRune(line, r); len(line) > limit {
			return string(line[:whole])
		}
	}
	return string(line)
}

// reorders reports whether r embeds, overrides or isolates the direction of what
// follows it (Unicode Standard Annex 9, section 2).
func reorders(r rune) bool {
	return 0x202A <= r && r <= 0x202E || 0x2066 <= r && r <= 0x2069
}

// unquoteName removes the quotes around the name in a From header of the form
//
//	"Müller, Jürgen" <j@example.net>
//
// unless the name holds something that could then be taken for the address.
func unquoteName(from string) string {
	quoted, ok := strings.CutPrefix(from, `"`)
	name, address, found := strings.Cut(quoted, `" <`)
	if !ok || !found || strings.ContainsAny(name, `"\<>@`) || strings.ContainsAny(address, `"<`) || strings.TrimSpace(name) == "" {
		return from
	}
	return strings.TrimSpace(name) + " <" + address
}
