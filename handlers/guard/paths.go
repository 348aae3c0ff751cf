// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxPath bounds the paths that are read closely, in bytes. No common server
// takes a longer one (Apache 8190, nginx and Tomcat 8192 by default).
const maxPath = 8 << 10

// maxSegment bounds the segments of guarded paths: a bit for each character and
// one for the end.
const maxSegment = 63

// Paths are the paths that a guard stands in front of. They do not change and
// may be used by any number of goroutines at once.
//
// A nil *Paths and the zero value are every path: a guard too many is better
// than one that is missing.
type Paths struct {
	guarded []guarded // none: everything
}

// guarded is one path with everything below it, in small letters.
type guarded struct {
	path     string
	segments []segment
}

// segment is one segment of a guarded path.
type segment struct {
	places   [utf8.RuneSelf]uint64 // by character: bit n is set if it is at n
	complete uint64                // the bit behind the last character
}

// NewPaths reads patterns of the form
//
//	/preliminary    the path and everything below it
//	/preliminary/*  the same
//	/*  *           everything
//
// Everything below it goes by segments: /preliminary/x is below /preliminary,
// /preliminaryx is not. No pattern at all means everything, as it does for
// Caddy's directives.
//
// A pattern is written as it is meant, not as a client may spell it: from
// letters, digits and -._~!$&'(),=:@ alone, without escapes, empty segments,
// segments that end in a dot and ones of more than 63 characters. Everything
// else, other wildcards too, is an error that names the pattern.
func NewPaths(patterns ...string) (*Paths, error) {
	paths := new(Paths)
	everything := false
	for _, pattern := range patterns {
		if pattern == "*" || pattern == "/*" {
			everything = true
			continue
		}
		g, err := newGuarded(pattern)
		if err != nil {
			return nil, err
		}
		paths.guarded = append(paths.guarded, g)
	}
	if everything {
		paths.guarded = nil
	}
	return paths, nil
}

func newGuarded(pattern string) (guarded, error) {
	path := strings.TrimSuffix(strings.TrimSuffix(pattern, "*"), "/")
	reason := ""
	switch {
	case strings.HasSuffix(pattern, "*") && !strings.HasSuffix(pattern, "/*"):
		reason = "a * stands behind a slash"
	case !strings.HasPrefix(path, "/"):
		reason = "it must begin with a slash and name a path"
	case strings.ContainsFunc(path, func(r rune) bool { return r >= 0x80 || classes[r] == odd }):
		reason = "it has a character that is not in A-Z a-z 0-9 /-._~!$&'(),=:@"
	case strings.Contains(path+"/", "//"):
		reason = "it has an empty segment"
	case strings.Contains(path+"/", "./"):
		reason = "it has a segment that ends in a dot"
	case slices.ContainsFunc(strings.Split(path, "/"), func(text string) bool { return len(text) > maxSegment }):
		reason = fmt.Sprintf("it has a segment of more than %d characters", maxSegment)
	}
	if reason != "" {
		return guarded{}, fmt.Errorf("path %q: %s; understood are /path and /path/* (the same: the path and everything below it) and * (everything)", pattern, reason)
	}
	g := guarded{path: strings.ToLower(path)}
	for text := range strings.SplitSeq(g.path[1:], "/") {
		segment := segment{complete: 1 << len(text)}
		for i, c := range text {
			segment.places[c] |= 1 << i
		}
		g.segments = append(g.segments, segment)
	}
	return g, nil
}

// Match says whether u leads to a guarded path by any reading that a server
// behind the guard may have of it, not only by the one that Go has. It errs on
// the side of the guard: what only some odd server would take for a guarded
// path matches, and so does what nobody sends who has nothing to hide: a URL
// that is not hierarchical (mailto:x), escapes with characters in them that are
// not ASCII, an odd path of more than 8 KiB.
//
// The readings are:
//
//   - escapes decoded no, one or any number of times: %70, %2570, %u0070
//   - any letter case
//   - an encoded slash and a backslash as separator of segments, or as a
//     character like others
//   - empty segments, "." and ".." resolved, or left alone
//   - ;parameters of segments taken off, before or after that, or left alone
//   - %3f and %23 as beginning of query and fragment
//   - NUL, control characters and what is not UTF-8 taken out, or as the end of
//     the path
//   - dots and blanks at the end and blanks at the beginning of a segment taken off
//   - //host/path as a path with the host before it
//   - what is not ASCII taken out, as the end of the path, or as what it is
//     another form of: fullwidth letters, letters with accents, U+212A
//     (Kelvin), ı, ſ, UTF-8 that is longer than need be (%c0%af)
//
// Each of them counts at each place on its own, so that any mixture is found.
// The time is linear in the length of the path. An ordinary path, without
// anything of that but letter case, is compared and nothing more.
//
// Not among them are mappings that take knowledge of the server: aliases, file
// name extensions, short file names (PRELIM~1), "../" cut out of the middle of
// a name. And it is the path alone that is read: a server that takes its path
// out of the query or a header (X-Original-URL) is beyond it.
func (p *Paths) Match(u *url.URL) bool {
	switch {
	case p == nil || len(p.guarded) == 0:
		return true
	case u == nil || u.Opaque != "":
		return true
	case u.RawPath == "" && ordinary(u.Path):
		return p.plain(u.Path)
	}
	// RawPath is what the client spelled, unless somebody changed Path since:
	// then it depends on the next handler which of them the server gets.
	return p.anyReading(u.Path) || u.RawPath != "" && p.anyReading(u.RawPath)
}

// plain is for an ordinary path, which has one reading.
func (p *Paths) plain(path string) bool {
	for i := range p.guarded {
		guarded := p.guarded[i].path
		if len(path) >= len(guarded) && (len(path) == len(guarded) || path[len(guarded)] == '/') &&
			strings.EqualFold(path[:len(guarded)], guarded) {
			return true
		}
	}
	return false
}

func (p *Paths) anyReading(path string) bool {
	if len(path) > maxPath {
		return true
	}
	var speller speller
	spelling, ok := speller.spell(path)
	if !ok {
		return true
	}
	for i := range p.guarded {
		if p.guarded[i].hasReading(spelling) {
			return true
		}
	}
	return false
}
