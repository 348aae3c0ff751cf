// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// notifyPath is the path that Dovecot reports to.
const notifyPath = "/preliminary/http-notify/v1/notify"

// errNoNotify means that the files do not proxy notifications.
var errNoNotify = errors.New("nothing in these files proxies " + notifyPath + ", which is what Dovecot reports to: give all files that have to do with it")

// ReadApache reads the configuration of an Apache: the files, one after the
// other, and those that they include. The error names every directive that must
// be understood and is not.
func (s *Source) ReadApache(files ...string) error {
	reader := &apacheReader{source: s, balancers: make(map[string]*balancer)}
	read := &apacheFiles{variables: make(map[string]string), leave: s.leave}
	var top []directive
	for _, file := range files {
		read.top = filepath.Dir(file)
		if err := read.file(file, 0, &top); err != nil {
			return err
		}
	}
	top, err := read.flatten(top)
	if err != nil {
		return err
	}
	sites, err := reader.sites(reader.servers(top))
	if err == nil {
		err = errors.Join(reader.refused...)
	}
	if err != nil {
		return err
	}
	s.Apache = sites
	return nil
}

// apacheReader collects what is spread over the files.
type apacheReader struct {
	source     *Source
	balancers  map[string]*balancer // of the server that is read
	inherited  map[string]*balancer // of the main server
	conditions []directive          // RewriteCond of the next RewriteRule
	refused    []error
}

// refuse records what must be understood and is not.
func (r *apacheReader) refuse(d directive, why string) {
	r.refused = append(r.refused, fmt.Errorf("%s: %s: %s", d.where, &d, why))
}

// servers returns the virtual hosts, or the main server if there is none.
// Directives outside of them apply to each.
func (r *apacheReader) servers(top []directive) []*server {
	main := &server{where: "the main server"}
	var hosts []directive
	for _, d := range top {
		switch d.name {
		case "virtualhost":
			hosts = append(hosts, d)
		case "use":
			r.refuse(d, "macros are not understood")
		default:
			r.serverDirective(main, d)
		}
	}
	if main.port == 0 {
		main.port = 80
	}
	if len(hosts) == 0 {
		main.balancers = r.balancers
		main.tls = main.tls || !main.tlsSet && main.port == 443
		return []*server{main}
	}
	r.inherited = r.balancers
	var all []*server
	for _, d := range hosts {
		s := &server{where: d.where, settings: main.settings, tls: main.tls, balancers: make(map[string]*balancer)}
		r.balancers = s.balancers
		s.sections = slices.Clone(main.sections)
		s.proxies = slices.Clone(main.proxies)
		s.passes = slices.Clone(main.passes)
		s.closings = slices.Clone(main.closings)
		s.headers = slices.Clone(main.headers)
		if s.port = portOf(first(d.args)); s.port == 0 {
			s.port = main.port
		}
		s.tls = s.tls || s.port == 443
		for _, in := range d.block { // before the rules that depend on it
			if in.name == "sslengine" {
				r.serverDirective(s, in)
			}
		}
		for _, in := range d.block {
			r.serverDirective(s, in)
		}
		all = append(all, s)
	}
	return all
}

// at returns what Apache does with a path, according to its sections.
func (s *server) at(path string) (p *pass, a access, settings proxySettings) {
	settings = s.settings
	handler := false
	for i := range s.sections {
		in := &s.sections[i]
		if in.re != nil || !in.matches(path) {
			continue
		}
		if in.pass != nil {
			p = in.pass
		}
		if in.handlerSet {
			handler = in.handler
		}
		if in.preserve != nil {
			settings.preserveHost = *in.preserve
		}
	}
	for i := range s.passes {
		if p == nil && below(path, s.passes[i].path) {
			p = &s.passes[i]
		}
	}
	if p != nil && (p.target == "" || handler) {
		p = nil
	}
	if p != nil {
		target := p.target + strings.TrimPrefix(path, p.path)
		for i := range s.proxies {
			if in := &s.proxies[i]; in.re == nil && strings.HasPrefix(target, in.path) || in.re != nil && in.re.MatchString(target) {
				a.override(in.rules)
			}
		}
	}
	for i := range s.sections {
		if in := &s.sections[i]; in.re == nil && in.matches(path) {
			a.override(in.rules)
		}
	}
	return p, a, settings
}

// site is a server of the Caddyfile.
type site struct {
	Where     string
	Addresses []string
	// OnDemand means that there is no name that a certificate could be for.
	OnDemand bool
	Headers  []string
	Guards   []guard
	Patterns []pattern
	Regions  []region
	Answers  []answerView
}

// guard is a dovecot_push_guard.
type guard struct{ Path, Allow string }

// pattern is what a LocationMatch or a rule closes to everybody except Allow.
type pattern struct {
	Name, Where, Pattern, Allow string
	Status                      int
}

// region is a path that Apache has a ProxyPass or a Location for.
type region struct {
	Name, Where, Path string
	// Allow, if Checked, is who is allowed of those that pass the guards.
	Allow   string
	Checked bool
	// From and To are the parts of the path that differ, if any do.
	From, To  string
	Upstreams string
	Lines     []string
	Proxied   bool

	allowed addresses
	pass    *pass
	group   group
	target  string
}

type answerView struct {
	Name, Pattern, Target string
	Status                int
}

// Pattern returns the path as a regular expression. Caddy's other path matcher
// ignores letter case, Apache does not.
func (r region) Pattern() string {
	return "^" + quoteMeta(r.Path) + map[bool]string{true: "", false: "(/|$)"}[strings.HasSuffix(r.Path, "/")]
}

func (r region) FromPattern() string { return "^" + quoteMeta(r.From) }
