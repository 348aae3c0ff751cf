// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import "strings"

// rewriting is what mod_rewrite does in one server. It comes before the proxy and
// may refuse, redirect or answer. What it matches is not proxied.
type rewriting struct {
	reader *apacheReader
	server *server
}

// rewrites reads the directives of mod_rewrite outside of sections.
func (r *apacheReader) rewrites(s *server, rw rewriting, d directive) {
	switch d.name {
	case "rewritecond":
		r.conditions = append(r.conditions, d)
	case "rewriterule":
		conditions := r.conditions
		r.conditions = nil
		if len(d.args) < 2 {
			r.close(s, d, "", "it is not understood")
			return
		}
		rw.rule(d, conditions)
	case "rewriteengine": // without it the rules below it would not count; they are closed anyway
	default:
		r.source.leave(d.where, "%s is not taken over", &d)
	}
}

func (rw rewriting) rule(d directive, conditions []directive) {
	if rw.server.tls && len(conditions) > 0 && aboutHTTPS(conditions) && strings.HasPrefix(strings.ToLower(d.args[1]), "https://") {
		return // it never happens
	}
	flags := ""
	if len(d.args) > 2 {
		flags = strings.Trim(strings.ToUpper(d.args[2]), "[]")
	}
	pattern := d.args[0]
	if strings.HasPrefix(pattern, "!") || strings.Trim(pattern, "^$/?()") == ".*" || pattern == "^" {
		pattern = ""
	}
	for flag := range strings.SplitSeq(flags, ",") {
		if pattern != "" && (flag == "NC" || flag == "NOCASE") {
			pattern = "(?i)" + pattern
		}
	}
	rw.reader.close(rw.server, d, pattern, "what it rewrites or refuses is not taken over")
}

// aboutHTTPS reports whether conditions depend only on whether the request came
// by HTTPS.
func aboutHTTPS(conditions []directive) bool {
	for _, c := range conditions {
		switch strings.ToUpper(first(c.args)) {
		case "%{HTTPS}", "%{SERVER_PORT}", "%{REQUEST_SCHEME}":
		default:
			return false
		}
	}
	return true
}
