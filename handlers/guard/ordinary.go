// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

// class is what a byte of a path may be.
type class uint8

const (
	odd   class = iota // has more than one reading
	text               // stands for itself
	slash              // must not stand behind itself
	dot                // must not stand at the end of a segment
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

// ordinary says whether path has one reading only, apart from letter case. So
// have nearly all that are ever requested.
func ordinary(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	last := text
	for i := range len(path) {
		c := classes[path[i]]
		if c == odd || c == slash && (last == slash || last == dot) {
			return false
		}
		last = c
	}
	return last != dot
}
