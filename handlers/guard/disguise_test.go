// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// choose gives a number from 0 to n-1. It is a random generator or the input of
// a fuzz test.
type choose func(n int) int

func chooseBytes(input []byte) choose {
	return func(n int) int {
		if len(input) == 0 {
			return 0
		}
		c := int(input[0])
		input = input[1:]
		return c % n
	}
}

func one[T any](choose choose, of []T) T { return of[choose(len(of))] }

// A disguise spells a path differently, so that some backend takes it for the
// same.
type disguise struct {
	name string
	do   func(path string, choose choose) string
	undo string // the step of a backend
}

var disguises = []disguise{
	{"escapes", func(p string, choose choose) string {
		return eachByte(p, choose, "", func(c byte) string { return one(choose, escapes(c)) }, '%')
	}, "decode"},
	{"escaped slashes", func(p string, choose choose) string {
		return eachByte(p, choose, "/", func(c byte) string { return one(choose, escapes(c)) }, '%')
	}, "decode"},
	{"wide escapes", func(p string, choose choose) string {
		return eachByte(p, choose, "", func(c byte) string { return fmt.Sprintf(one(choose, []string{"%%u%04x", "%%u%04X", "%%U%04x"}), c) }, '%')
	}, "decode %u"},
	{"overlong", func(p string, choose choose) string {
		return eachByte(p, choose, "", func(c byte) string { return one(choose, overlong(c)) })
	}, "decode overlong"},
	{"fullwidth", func(p string, choose choose) string {
		return eachByte(p, choose, "", func(c byte) string { return string(rune(c) + 0xFEE0) })
	}, "compatible"},
	{"accents", func(p string, choose choose) string {
		return eachByte(p, choose, "aceinrsuy", func(c byte) string { return norm.NFC.String(string(c) + "\u0301") }) + "\u0301"
	}, "decomposed in ASCII"},
	{"case", func(p string, choose choose) string {
		return eachByte(p, choose, "abcdefghijklmnopqrstuvwxyz", func(c byte) string {
			if c == 'i' {
				return one(choose, []string{"I", "ı"})
			}
			return string(c - 0x20)
		})
	}, "upper and lower"},
	{"slashes", func(p string, choose choose) string {
		return eachByte(p, choose, "/", func(byte) string { return one(choose, []string{"//", "///"}) })
	}, "merge slashes"},
	{"backslashes", func(p string, choose choose) string {
		return eachByte(p, choose, "/", func(byte) string { return `\` })
	}, "backslashes"},
	{"dots", func(p string, choose choose) string {
		return eachByte(p, choose, "/", func(byte) string {
			return one(choose, []string{"/./", "/x/../", "/x/y/../../", "/../", "/x%2fy/../", "/x/./../", "/;/../", `/x\y/../`})
		})
	}, "resolve dots"},
	{"parameters", func(p string, choose choose) string {
		return eachByte(p, choose, "/", func(byte) string {
			return one(choose, []string{";/", ";v=1/", ";a;b/", "/;a/", ";%2f../", ";../"})
		})
	}, "strip parameters"},
	{"controls", func(p string, choose choose) string {
		return eachByte(p, choose, "", func(c byte) string { return one(choose, []string{"\x00", "\x01", "\t", "\n", "\x7f"}) + string(c) })
	}, "remove controls"},
	{"not UTF-8", func(p string, choose choose) string {
		return eachByte(p, choose, "", func(c byte) string { return one(choose, []string{"\xff", "\xc0", "\xe2\x80", "\x80"}) + string(c) })
	}, "remove what is not UTF-8"},
	{"not ASCII", func(p string, choose choose) string {
		return eachByte(p, choose, "", func(c byte) string {
			return one(choose, []string{"é", "\u200b", "\xff", "ｐ", "／", "\xc0\xaf", "．", "；"}) + string(c)
		})
	}, "remove what is not ASCII"},
	{"dots and blanks at the end", func(p string, choose choose) string {
		return eachByte(p, choose, "/", func(byte) string { return one(choose, []string{"./", " /", ". ./", "%20/"}) })
	}, "trim dots and blanks"},
	{"host", func(p string, choose choose) string {
		return one(choose, []string{"//host", "//user@host:80", "//h%2fx", `//h\x`, "//h;x"}) + p
	}, "drop host"},
	{"NUL", func(p string, choose choose) string { return p + one(choose, []string{"\x00", "\x00x", "\x00/../.."}) }, "cut at NUL"},
	{"query", func(p string, choose choose) string { return p + one(choose, []string{"?", "?x", "?/../.."}) }, "cut at ?"},
	{"fragment", func(p string, choose choose) string { return p + one(choose, []string{"#", "#x", "#/../.."}) }, "cut at #"},
}

// disguised puts a few disguises on path and gives the steps of a backend that
// take them off again.
func disguised(path string, choose choose) (hostile string, undo []step) {
	for range 1 + choose(6) {
		d := one(choose, disguises)
		i := slices.IndexFunc(steps, func(s step) bool { return s.name == d.undo })
		path = d.do(path, choose)
		undo = append(undo, steps[i])
	}
	slices.Reverse(undo)
	return path, undo
}

func run(steps []step, path string) string {
	for _, step := range steps {
		path = step.do(path)
	}
	return path
}

// eachByte replaces some of the bytes of p that are in which (any printable
// ASCII, if it is empty), and all those that are in always.
func eachByte(p string, choose choose, which string, replace func(c byte) string, always ...byte) string {
	often := 1 + choose(6)
	var b strings.Builder
	for i := range len(p) {
		c := p[i]
		wanted := strings.IndexByte(which, c) >= 0 || which == "" && ' ' < c && c < 0x7F
		if slices.Contains(always, c) || wanted && choose(often) == 0 {
			b.WriteString(replace(c))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func escapes(c byte) []string {
	return []string{fmt.Sprintf("%%%02x", c), fmt.Sprintf("%%%02X", c)}
}

// overlong are the forms of c that are two to six bytes long.
func overlong(c byte) []string {
	high, low := c>>6, 0x80|c&0x3F
	return []string{
		string([]byte{0xC0 | high, low}),
		string([]byte{0xE0, 0x80 | high, low}),
		string([]byte{0xF0, 0x80, 0x80 | high, low}),
		string([]byte{0xF8, 0x80, 0x80, 0x80 | high, low}),
		string([]byte{0xFC, 0x80, 0x80, 0x80, 0x80 | high, low}),
	}
}
