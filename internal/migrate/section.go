// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"regexp"
	"strings"
)

// section is a Location, a Proxy, or one of those with a pattern.
type section struct {
	where, path string
	re          *regexp.Regexp // in the place of path
	rules       *accessRules
	pass        *pass
	handler     bool // SetHandler: Apache answers itself
	handlerSet  bool
	preserve    *bool
}

// matches reports whether Apache applies the section to a path.
func (s *section) matches(path string) bool {
	if s.re != nil {
		return s.re.MatchString(path)
	}
	return below(path, s.path)
}

// below reports whether path is prefix or below it, by segments as Apache
// compares them.
func below(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(prefix, "/"))
}

// section reads a Location or a Proxy.
func (r *apacheReader) section(list *[]section, d directive, match bool) {
	s := section{where: d.where, rules: &accessRules{source: r.source}}
	args := d.args
	if len(args) == 2 && args[0] == "~" {
		match, args = true, args[1:]
	}
	if len(args) != 1 {
		r.refuse(d, "it is not one path")
		return
	}
	s.path = args[0]
	if !match && strings.ContainsAny(s.path, "*?[") {
		match, s.path = true, glob(s.path, d.name)
	}
	if match {
		if !compiles(s.path) {
			r.refuse(d, "this pattern is not understood: write it as <Location> of one path")
			return
		}
		s.re = regexp.MustCompile(s.path)
	}
	if !match && strings.HasPrefix(d.name, "location") && (!strings.HasPrefix(s.path, "/") || strings.ContainsAny(s.path, "{}`\" \t")) {
		r.refuse(d, "this path is not understood")
		return
	}
	balancer := false
	if name, ok := balancerName(s.path); ok && d.name == "proxy" {
		_, balancer = r.balancers[name]
	}
	for _, in := range d.block {
		r.sectionDirective(&s, in, d, balancer)
	}
	*list = append(*list, s)
}

func (r *apacheReader) sectionDirective(s *section, d, within directive, balancer bool) {
	switch d.name {
	case "proxypass":
		if within.name != "location" || s.re != nil {
			s.rules.close(d, "what a pattern of paths is proxied to is not taken over")
			return
		}
		if p, ok := r.proxyPass(d, s.path); ok {
			s.pass = &p
		}
	case "proxypassmatch", "rewriterule", "redirect", "redirectmatch", "redirectpermanent", "redirecttemp":
		s.rules.close(d, "it answers in another way than by the proxy, and is not taken over")
	case "rewriteengine", "rewritecond", "rewritebase", "rewriteoptions":
	case "proxypassreverse", "sslrenegbuffersize":
	case "sethandler":
		s.handlerSet, s.handler = true, !strings.EqualFold(first(d.args), "none")
		if s.handler {
			r.source.leave(d.where, "%s is not taken over: nothing is proxied there", &d)
		}
	case "proxypreservehost":
		value := on(d)
		s.preserve = &value
	case "balancermember", "proxyset":
		if !balancer {
			r.source.leave(d.where, "%s is not taken over", &d)
		}
	case "setenv", "unsetenv", "setenvif", "setenvifnocase", "passenv":
		r.environment(d, func() { s.rules.close(d, "it may keep requests from the proxy") })
	case "sslverifyclient":
		if !strings.EqualFold(first(d.args), "none") {
			s.rules.close(d, "a certificate is asked for, which is not taken over")
		}
	default:
		if !s.rules.read(d) {
			r.other(d)
		}
	}
}

// glob returns a path pattern with * and ? as a regular expression.
func glob(pattern, kind string) string {
	if strings.Contains(pattern, "[") {
		return "(" // which compiles to nothing
	}
	quoted := regexp.QuoteMeta(pattern)
	any := `[^/]`
	if kind == "proxy" {
		any = "."
	}
	return "^" + strings.NewReplacer(`\*`, any+"*", `\?`, any).Replace(quoted) + "$"
}
