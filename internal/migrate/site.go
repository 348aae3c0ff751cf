// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Apache is the configuration of an Apache as the sites of a Caddyfile.
type Apache struct {
	Sites []*site
	// What Dovecot reports to: the nodes, the path there, who may report, and the
	// name of the server.
	Upstreams, Path, Allow, Name string
	Lines                        []string
}

func quoteMeta(s string) string { return regexp.QuoteMeta(s) }

// sites makes a site of each server that proxies something, and finds where
// notifications go.
func (r *apacheReader) sites(servers []*server) (*Apache, error) {
	all := new(Apache)
	found := false
	for _, s := range servers {
		made, err := r.site(s)
		if err != nil {
			return nil, err
		}
		if made == nil {
			r.source.leave(s.where, "it proxies nothing, and is left out")
			continue
		}
		all.Sites = append(all.Sites, made)
		at := s.notify(made)
		if at == nil || found && (all.Allow != "" || at.allowed.empty()) {
			continue
		}
		found = true
		all.Upstreams, all.Lines = strings.Join(at.group.upstreams, " "), at.group.lines(false)
		all.Path, all.Name = "", first(s.names)
		if path := at.target + strings.TrimPrefix(notifyPath, at.pass.path); path != notifyPath {
			all.Path = path
		}
		all.Allow = ""
		if at.allowed.all() {
			r.source.leave(at.Where, "Apache lets everybody report: nobody may until the addresses of your mail servers stand behind allow")
		} else if all.Allow = at.allowed.String(); all.Allow == "" {
			r.source.leave(at.Where, "nobody may report: write the addresses of your mail servers behind allow")
		}
	}
	if !found && len(r.refused) == 0 {
		return nil, errNoNotify
	}
	return all, nil
}

// notify returns the region of the notifications, or nil if they are not proxied.
func (s *server) notify(made *site) *region {
	for _, p := range made.Patterns {
		if p.Status == 404 && (p.Pattern == "" || regexp.MustCompile(p.Pattern).MatchString(notifyPath)) {
			return nil
		}
	}
	for i := range made.Regions { // the longest path first
		if r := &made.Regions[i]; below(notifyPath, r.Path) {
			if !r.Proxied {
				return nil
			}
			return r
		}
	}
	return nil
}

// site returns the site of a server, or nil if it proxies nothing.
func (r *apacheReader) site(s *server) (*site, error) {
	made := &site{Where: s.where, Headers: s.headers}
	r.balancers = s.balancers
	proxied := false
	for _, path := range s.paths() {
		one, err := r.region(s, path)
		if err != nil {
			return nil, err
		}
		proxied = proxied || one.Proxied
		made.Regions = append(made.Regions, one)
	}
	r.patterns(s, made)
	for _, p := range made.Patterns {
		proxied = proxied && (p.Pattern != "" || p.Status != 404)
	}
	if !proxied {
		return nil, nil
	}
	made.guard()
	made.Regions = slices.DeleteFunc(made.Regions, func(one region) bool { // 404 is what it gets anyway
		return !one.Proxied && !slices.ContainsFunc(made.Regions, func(outer region) bool { return outer.Proxied && below(one.Path, outer.Path) })
	})
	for i := range made.Regions {
		made.Regions[i].Name = fmt.Sprintf("path%d", i+1)
	}
	for i, a := range s.answers {
		made.Answers = append(made.Answers, answerView{fmt.Sprintf("redirect%d", i+1), a.pattern, a.target, a.status})
	}
	s.address(r.source, made)
	return made, nil
}

// paths returns all paths that the server has a section or a ProxyPass for, and
// the root, the longest first.
func (s *server) paths() []string {
	all := []string{"/"}
	for _, in := range s.sections {
		if in.re == nil {
			all = append(all, in.path)
		}
	}
	for _, p := range s.passes {
		all = append(all, p.path)
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	return slices.Compact(all)
}

func (r *apacheReader) region(s *server, path string) (region, error) {
	p, a, settings := s.at(path)
	one := region{Path: path, Where: s.where, allowed: a.addresses(r.source), pass: p}
	if p == nil {
		for i := range s.sections {
			if s.sections[i].path == path {
				one.Where = s.sections[i].where
			}
		}
		return one, nil
	}
	var err error
	if one.group, one.target, err = r.group(p); err != nil {
		return one, err
	}
	one.Proxied, one.Where = true, p.where
	if one.target != p.path {
		one.From, one.To = p.path, one.target
	}
	for _, param := range p.params {
		switch key, _, _ := strings.Cut(strings.ToLower(param), "="); key {
		case "mapping", "noquery", "interpolate", "upgrade":
			r.source.leave(p.where, "%s: this changes what is proxied, and is not understood; nothing is proxied there", param)
			one.Proxied = false
		}
	}
	if one.group.timeout == "" {
		one.group.timeout = settings.timeout
	}
	one.group.host = !settings.preserveHost
	if settings.reverse && (one.From != one.To || one.group.host) {
		r.source.leave(p.where, "ProxyPassReverse has no equal: a Location header of a node passes as it is")
	}
	if name, ok := balancerName(p.target); ok {
		b := *r.known(name)
		b.settings(r, slices.DeleteFunc(slices.Clone(p.params), func(p string) bool {
			key, _, _ := strings.Cut(strings.ToLower(p), "=")
			return key == "nocanon" || key == "mapping" || key == "noquery" || key == "interpolate"
		}), p.where)
		one.group.policy, one.group.sticky = b.policy, b.sticky
	}
	one.Upstreams, one.Lines = strings.Join(one.group.upstreams, " "), one.group.lines(true)
	return one, nil
}

// patterns returns what is closed by pattern.
func (r *apacheReader) patterns(s *server, made *site) {
	add := func(p pattern) {
		p.Name = fmt.Sprintf("closed%d", len(made.Patterns)+1)
		made.Patterns = append(made.Patterns, p)
	}
	for _, c := range s.closings {
		add(pattern{Where: c.where, Pattern: c.pattern, Status: 404})
	}
	for i := range s.sections {
		in := &s.sections[i]
		if in.re == nil {
			continue
		}
		if in.handler {
			add(pattern{Where: in.where, Pattern: in.re.String(), Status: 404})
		}
		var a access
		a.override(in.rules)
		if allowed := a.addresses(r.source); !allowed.all() {
			add(pattern{Where: in.where, Pattern: in.re.String(), Allow: allowed.String(), Status: 403})
		}
	}
}

// guard puts a guard before each path with access rules. If a path below it
// allows others, the guard does as well, and the path itself checks again.
func (s *site) guard() {
	open := make([]addresses, len(s.Regions))
	for i, r := range s.Regions {
		for _, other := range s.Regions {
			if below(other.Path, r.Path) {
				open[i] = open[i].or(other.allowed)
			}
		}
	}
	for i := range s.Regions {
		r := &s.Regions[i]
		passing := everybody
		for j, outer := range s.Regions {
			if below(r.Path, outer.Path) {
				passing = passing.and(open[j])
			}
		}
		if r.Checked = !passing.equal(r.allowed); r.Checked {
			r.Allow = r.allowed.String()
		}
	}
	for i, r := range slices.Backward(s.Regions) {
		if !open[i].all() {
			s.Guards = append(s.Guards, guard{strings.TrimRight(r.Path, "/") + "/*", open[i].String()})
		}
	}
}

// address returns where the site listens. No name is made up.
func (s *server) address(source *Source, made *site) {
	scheme, standard := "http", 80
	if s.tls {
		scheme, standard = "https", 443
	}
	port := ""
	if s.port != standard {
		port = fmt.Sprintf(":%d", s.port)
	}
	for _, name := range s.names {
		made.Addresses = append(made.Addresses, scheme+"://"+name+port)
	}
	if len(s.names) > 0 {
		return
	}
	made.Addresses = []string{fmt.Sprintf("%s://:%d", scheme, s.port)}
	made.OnDemand = s.tls
	source.leave(s.where, "it has no ServerName: the site below answers to every name; write its names there")
}
