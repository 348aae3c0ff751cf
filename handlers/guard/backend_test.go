// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A backend makes the path that it routes by out of the one in the request, in
// steps. Every server has its own, in its own order; some do one twice, because
// there are a proxy and a framework in it. The steps here are written for
// themselves, the plain way, and know nothing of how Match works.
type step struct {
	name string
	do   func(path string) string
}

var steps = []step{
	{"decode", func(p string) string { return decode(p, func(byte) bool { return true }) }},
	{"decode", func(p string) string { return decode(p, func(byte) bool { return true }) }},
	{"decode but slashes", func(p string) string { return decode(p, func(c byte) bool { return c != '/' && c != '\\' }) }},
	{"decode unreserved", func(p string) string {
		return decode(p, func(c byte) bool { return isWord(c) || strings.IndexByte("-._~", c) >= 0 })
	}},
	{"decode %u", decodeWide},
	{"resolve dots", resolve},
	{"resolve dots", resolve},
	{"merge slashes", func(p string) string {
		for strings.Contains(p, "//") {
			p = strings.ReplaceAll(p, "//", "/")
		}
		return p
	}},
	{"clean", func(p string) string { return path.Clean("/" + p) }},
	{"strip parameters", func(p string) string {
		return eachSegment(p, func(s string) string { s, _, _ = strings.Cut(s, ";"); return s })
	}},
	{"cut at ;", func(p string) string { p, _, _ = strings.Cut(p, ";"); return p }},
	{"cut at ?", func(p string) string { p, _, _ = strings.Cut(p, "?"); return p }},
	{"cut at #", func(p string) string { p, _, _ = strings.Cut(p, "#"); return p }},
	{"cut at NUL", func(p string) string { p, _, _ = strings.Cut(p, "\x00"); return p }},
	{"cut at line end", func(p string) string {
		if i := strings.IndexAny(p, "\r\n"); i >= 0 {
			p = p[:i]
		}
		return p
	}},
	{"remove controls", func(p string) string {
		return string(slices.DeleteFunc([]byte(p), func(c byte) bool { return c < ' ' || c == 0x7F }))
	}},
	{"remove all controls", func(p string) string { return remove(p, unicode.IsControl) }},
	{"remove formats", func(p string) string { return remove(p, func(r rune) bool { return unicode.Is(unicode.Cf, r) }) }},
	{"backslashes", func(p string) string { return strings.ReplaceAll(p, `\`, "/") }},
	{"plus", func(p string) string { return strings.ReplaceAll(p, "+", " ") }},
	{"trim dots and blanks", func(p string) string {
		return eachSegment(p, func(s string) string {
			if s == "." || s == ".." {
				return s
			}
			return strings.TrimRight(s, ". ")
		})
	}},
	{"trim dots", func(p string) string {
		return eachSegment(p, func(s string) string { return strings.TrimRight(s, ".") })
	}},
	{"trim segments", func(p string) string { return eachSegment(p, strings.TrimSpace) }},
	{"trim", strings.TrimSpace},
	{"drop host", func(p string) string {
		if rest, ok := strings.CutPrefix(p, "//"); ok {
			_, rest, _ = strings.Cut(rest, "/")
			return "/" + rest
		}
		return p
	}},
	{"remove what is not UTF-8", func(p string) string { return strings.ToValidUTF8(p, "") }},
	{"cut at what is not UTF-8", func(p string) string {
		for i, r := range p {
			if r == utf8.RuneError {
				return p[:i]
			}
		}
		return p
	}},
	{"decode overlong", decodeOverlong},
	{"lower", lower},
	{"lower of Unicode", strings.ToLower},
	{"upper and lower", func(p string) string { return strings.ToLower(strings.ToUpper(p)) }},
	{"compatible", norm.NFKC.String},
	{"decomposed", norm.NFKD.String},
	{"remove what is not ASCII", ascii},
	{"decomposed in ASCII", func(p string) string { return ascii(norm.NFKD.String(p)) }},
}

// below reports whether a backend whose steps made path of a request routes it to
// guarded or below.
func below(path, guarded string) bool {
	path = lower("/" + strings.TrimPrefix(path, "/"))
	return path == guarded || strings.HasPrefix(path, guarded+"/")
}

func ascii(p string) string {
	return string(slices.DeleteFunc([]byte(p), func(c byte) bool { return c >= 0x80 }))
}

// lower is for ASCII alone.
func lower(p string) string {
	b := []byte(p)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] |= 0x20
		}
	}
	return string(b)
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func unhex(s string) (value rune, ok bool) {
	for i := range len(s) {
		digit := strings.IndexByte("0123456789abcdef", s[i]|0x20)
		if digit < 0 || s[i] < '0' {
			return 0, false
		}
		value = value<<4 | rune(digit)
	}
	return value, true
}

func decode(p string, wanted func(byte) bool) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) {
			if value, ok := unhex(p[i+1 : i+3]); ok && wanted(byte(value)) {
				b.WriteByte(byte(value))
				i += 2
				continue
			}
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

func decodeWide(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+5 < len(p) && p[i+1]|0x20 == 'u' {
			if value, ok := unhex(p[i+2 : i+6]); ok {
				b.WriteRune(value)
				i += 5
				continue
			}
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

// decodeOverlong is a UTF-8 decoder that does not look for the shortest form.
func decodeOverlong(p string) string {
	var b strings.Builder
next:
	for i := 0; i < len(p); i++ {
		length, value := 0, rune(0)
		for n, lead := range map[int]byte{2: 0xC0, 3: 0xE0, 4: 0xF0, 5: 0xF8, 6: 0xFC} {
			if mask := byte(0xFF) << (7 - n); p[i]&mask == lead {
				length, value = n, rune(p[i]&^mask)
			}
		}
		if length > 0 && i+length <= len(p) {
			for _, c := range []byte(p[i+1 : i+length]) {
				if c&0xC0 != 0x80 {
					b.WriteByte(p[i])
					continue next
				}
				value = value<<6 | rune(c&0x3F)
			}
			b.WriteRune(value)
			i += length - 1
			continue
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

// resolve does what RFC 3986 section 5.2.4 says, empty segments included.
func resolve(p string) string {
	var stack []string
	segments := strings.Split(strings.TrimPrefix(p, "/"), "/")
	for i, s := range segments {
		switch s {
		case ".", "..":
			if s == ".." && len(stack) > 0 {
				stack = stack[:len(stack)-1]
			}
			if i == len(segments)-1 {
				stack = append(stack, "")
			}
		default:
			stack = append(stack, s)
		}
	}
	return "/" + strings.Join(stack, "/")
}

func eachSegment(p string, do func(string) string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i] = do(s)
	}
	return strings.Join(segments, "/")
}

func remove(p string, which func(rune) bool) string {
	return strings.Map(func(r rune) rune {
		if which(r) {
			return -1
		}
		return r
	}, p)
}
