// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

// class classifies the bytes of a path.
type class uint8

const (
	ambiguous class = iota // has more than one interpretation
	text                   // stands for itself
	slash                  // must not follow a slash or a dot
	dot                    // must not end a segment
)

var classes = func() (classes [256]class) {
	for c := range classes {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			classes[c] = text
		}
	}
	for _, c := range "-_~!$&'(),=:@" {
		classes[c] = text
	}
	classes['/'], classes['.'] = slash, dot
	return classes
}()

// unambiguous reports whether path has only one interpretation, apart from
// letter case. Nearly all requested paths do.
func unambiguous(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	last := text
	for i := range len(path) {
		c := classes[path[i]]
		if c == ambiguous || c == slash && (last == slash || last == dot) {
			return false
		}
		last = c
	}
	return last != dot
}
