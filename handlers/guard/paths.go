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

// maxPath bounds the length of ambiguous paths, in bytes. No common server
// accepts longer ones (Apache 8190, nginx and Tomcat 8192 by default).
const maxPath = 8 << 10

// maxSegment bounds the segments of guarded paths, because a segment has a bit
// for each character and one for its end.
const maxSegment = 63

// Paths are the paths that a guard protects. They are immutable and safe for
// concurrent use.
//
// A nil *Paths and the zero value match every path: it is better to guard too
// much than too little.
type Paths struct {
	guarded []guarded // none: everything
}

// guarded is one path with everything below it, in lower case.
type guarded struct {
	path     string
	segments []segment
}

// segment is one segment of a guarded path.
type segment struct {
	places   [utf8.RuneSelf]uint64 // by character: bit n is set if it is at position n
	complete uint64                // the bit after the last character
}

// NewPaths parses patterns of the form
//
//	/preliminary    the path and everything below it
//	/preliminary/*  the same
//	/*  *           everything
//
// Patterns match whole segments: /preliminary/x is below /preliminary,
// /preliminaryx is not. Without a pattern, everything matches, as in Caddy's
// directives.
//
// A pattern consists of letters, digits and -._~!$&'(),=:@ only, without
// escapes, empty segments, segments that end in a dot, and segments of more
// than 63 characters. Anything else, including other wildcards, is an error
// that names the pattern.
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
		reason = "a * must follow a slash"
	case !strings.HasPrefix(path, "/"):
		reason = "it must start with a slash and name a path"
	case strings.ContainsFunc(path, func(r rune) bool { return r >= 0x80 || classes[r] == ambiguous }):
		reason = "it has a character that is not in A-Z a-z 0-9 /-._~!$&'(),=:@"
	case strings.Contains(path+"/", "//"):
		reason = "it has an empty segment"
	case strings.Contains(path+"/", "./"):
		reason = "it has a segment that ends in a dot"
	case slices.ContainsFunc(strings.Split(path, "/"), func(text string) bool { return len(text) > maxSegment }):
		reason = fmt.Sprintf("it has a segment of more than %d characters", maxSegment)
	}
	if reason != "" {
		return guarded{}, fmt.Errorf("path %q: %s; allowed are /path and /path/* (the same: the path and everything below it) and * (everything)", pattern, reason)
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

// Match reports whether any server behind the guard could interpret u as a
// guarded path, not only whether Go does. It errs on the side of the guard:
// URLs that only some odd server would take for a guarded path match, and so do
// those that no honest client sends: URLs that are not hierarchical (mailto:x),
// escapes with non-ASCII characters in them, and ambiguous paths of more than 8
// KiB.
//
// The interpretations are:
//
//   - escapes decoded never, once or any number of times: %70, %2570, %u0070
//   - any letter case
//   - an encoded slash and a backslash as a separator of segments, or as an
//     ordinary character
//   - empty segments, "." and ".." resolved, or left alone
//   - ;parameters of segments removed, before or after that, or left alone
//   - %3f and %23 as the start of the query and the fragment
//   - NUL, control characters and invalid UTF-8 removed, or as the end of the
//     path
//   - dots and blanks at the end, and blanks at the start, of a segment removed
//   - //host/path as a path after a host
//   - non-ASCII characters removed, as the end of the path, or as the ASCII
//     character they are a form of: fullwidth letters, letters with accents,
//     U+212A (Kelvin), ı, ſ, overlong UTF-8 (%c0%af)
//
// Each of them is considered at each position independently, so that any
// mixture is found. The time is linear in the length of the path. An
// unambiguous path is only compared, ignoring letter case.
//
// Mappings that only the server knows are not considered: aliases, file name
// extensions, short file names (PRELIM~1), "../" removed from the middle of a
// name. Only the path is considered: a server that takes the path from the
// query or a header (X-Original-URL) is not covered.
func (p *Paths) Match(u *url.URL) bool {
	switch {
	case p == nil || len(p.guarded) == 0:
		return true
	case u == nil || u.Opaque != "":
		return true
	case u.RawPath == "" && unambiguous(u.Path):
		return p.matchUnambiguous(u.Path)
	}
	// RawPath is what the client sent, unless Path was changed since. Then it
	// depends on the next handler which of the two the server gets.
	return p.anyInterpretation(u.Path) || u.RawPath != "" && p.anyInterpretation(u.RawPath)
}

// matchUnambiguous matches a path that has one interpretation.
func (p *Paths) matchUnambiguous(path string) bool {
	for i := range p.guarded {
		guarded := p.guarded[i].path
		if len(path) >= len(guarded) && (len(path) == len(guarded) || path[len(guarded)] == '/') &&
			strings.EqualFold(path[:len(guarded)], guarded) {
			return true
		}
	}
	return false
}

func (p *Paths) anyInterpretation(path string) bool {
	if len(path) > maxPath {
		return true
	}
	var n normalizer
	normal, ok := n.normalize(path)
	if !ok {
		return true
	}
	for i := range p.guarded {
		if p.guarded[i].hasInterpretation(normal) {
			return true
		}
	}
	return false
}
