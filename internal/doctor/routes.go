// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

// server is the part of a server's configuration that matters here.
type server struct {
	Routes               []route         `json:"routes"`
	Errors               routeList       `json:"errors"`
	TrustedProxies       json.RawMessage `json:"trusted_proxies"`
	TrustedProxiesStrict int             `json:"trusted_proxies_strict"`
}

type routeList struct {
	Routes []route `json:"routes"`
}

type route struct {
	Match    []map[string]json.RawMessage `json:"match"`
	Handle   []handler                    `json:"handle"`
	Group    string                       `json:"group"`
	Terminal bool                         `json:"terminal"`
}

// handler has the options of all handlers that are understood.
type handler struct {
	Handler         string                  `json:"handler"`
	Routes          []route                 `json:"routes"`
	Errors          routeList               `json:"errors"`
	Paths           []string                `json:"paths"`
	Path            string                  `json:"path"`
	ClientIP        bool                    `json:"client_ip"`
	Login           string                  `json:"login"`
	Upstreams       []struct{ Dial string } `json:"upstreams"`
	StripPathPrefix string                  `json:"strip_path_prefix"`
}

// Routes checks the configuration of Caddy's HTTP servers, as JSON: whether a
// request for a guarded path can reach the backend past the guard, and whether a
// client can forge the address that it is judged by.
func Routes(config []byte) ([]Finding, error) {
	var app struct {
		Servers map[string]server `json:"servers"`
	}
	if err := json.Unmarshal(config, &app); err != nil {
		return nil, err
	}
	var r report
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		s := app.Servers[name]
		s.forgeable(name, &r)
		s.unguarded(name, &r)
	}
	return r.findings, nil
}

// each calls f for every handler of the server.
func (s *server) each(f func(*handler)) {
	each(s.Routes, f)
	each(s.Errors.Routes, f)
}

// each calls f for every handler below routes.
func each(routes []route, f func(*handler)) {
	for i := range routes {
		for j := range routes[i].Handle {
			h := &routes[i].Handle[j]
			f(h)
			each(h.Routes, f)
			each(h.Errors.Routes, f)
		}
	}
}

// forgeable names what judges clients by an address that they can forge.
func (s *server) forgeable(name string, r *report) {
	if len(s.TrustedProxies) == 0 || s.TrustedProxiesStrict != 0 {
		return
	}
	s.each(func(h *handler) {
		var what string
		switch {
		case h.ClientIP && (h.Handler == "dovecot_push_guard" || h.Handler == "dovecot_push_notify"):
			what = "client_ip of " + h.Handler
		case h.Handler == "dovecot_push_api" && h.Login == "imap":
			what = "the limit of wrong logins of dovecot_push_api"
		default:
			return
		}
		r.problem("client-address", what+" in the server "+name, "it goes by an address that clients can write into X-Forwarded-For themselves",
			"Add trusted_proxies_strict to the option servers.")
	})
}

// flow is a request on its way through the routes.
type flow struct {
	path, original string
	site           string
	guarded        bool // or handed on because of its address
	failed         bool // an error route has it
}

// passage is where a flow reaches a backend.
type passage struct {
	site    string
	failed  bool
	backend string
}

// walker finds the backends that flows for guarded paths reach.
type walker struct {
	guards    []string // the guarded paths
	guarded   map[string]bool
	sites     map[string]bool // that have a guard
	unguarded []passage
}

// unguarded names the ways past the guard.
func (s *server) unguarded(name string, r *report) {
	w := &walker{guarded: make(map[string]bool), sites: make(map[string]bool)}
	prefixes := []string{""}
	s.each(func(h *handler) {
		switch {
		case h.Handler == "dovecot_push_guard":
			w.guards = append(w.guards, h.Paths...)
		case h.Handler == "dovecot_push_notify":
			w.guards = append(w.guards, cmp.Or(h.Path, adminapi.DefaultPath))
		case h.Handler == "rewrite" && h.StripPathPrefix != "":
			prefixes = append(prefixes, h.StripPathPrefix)
		}
	})
	if len(w.guards) == 0 {
		return
	}
	for i := range s.Routes {
		_, _, hosts := s.Routes[i].matches("")
		each(s.Routes[i:i+1], func(h *handler) {
			w.sites[hosts] = w.sites[hosts] || h.Handler == "dovecot_push_guard" || h.Handler == "dovecot_push_notify"
		})
	}
	for _, guard := range w.guards {
		for _, prefix := range prefixes {
			p := prefix + root(guard) + "/x"
			f := flow{path: p, original: p}
			w.walk(s.Routes, f)
			f.failed = true
			w.walk(s.Errors.Routes, f)
		}
	}
	const check = "guard-routes"
	tried := "the routes of the server " + name
	before := len(r.findings)
	for _, p := range w.unguarded {
		if !w.guarded[p.backend] {
			continue // another backend than the one that is guarded
		}
		where := cmp.Or(p.site, "every host")
		f := Finding{Check: check, Tried: tried}
		switch {
		case p.failed:
			f.Status, f.Got = Warning, "after an error of another handler, a stranger's request for a guarded path goes to "+p.backend+" ("+where+")"
			f.Fix = "Put dovecot_push_guard into handle_errors as well, or hand nothing to that backend there."
		case w.sites[p.site]:
			f.Status, f.Got = Problem, "a stranger's request for a guarded path can go to "+p.backend+" past the guard ("+where+")"
			f.Fix = "Put dovecot_push_guard into the same handle or route, before reverse_proxy: what strips a prefix after the guard makes another path."
		default:
			f.Status, f.Got = Warning, "another site hands guarded paths to "+p.backend+" without a guard ("+where+")"
			f.Fix = "Put dovecot_push_guard into that site as well."
		}
		if !slices.Contains(r.findings, f) {
			r.findings = append(r.findings, f)
		}
	}
	if len(r.findings) == before {
		r.ok(check, tried, "no guarded path gets to the backend past the guard")
	}
}

// root returns a path without the wildcard at its end.
func root(p string) string { return strings.TrimSuffix(strings.TrimSuffix(p, "*"), "/") }

func below(p, of string) bool {
	p, of = strings.ToLower(p), strings.ToLower(root(of))
	return p == of || strings.HasPrefix(p, of+"/")
}

// walk follows a flow. ended means that it certainly goes no further.
func (w *walker) walk(routes []route, f flow) (_ flow, ended bool) {
	taken := make(map[string]bool) // groups
	for _, r := range routes {
		if r.Group != "" && taken[r.Group] {
			continue
		}
		matched, byAddress, hosts := r.matches(f.path)
		if matched == never {
			continue
		}
		in := f
		in.guarded = f.guarded || byAddress
		if in.site == "" {
			in.site = hosts
		}
		ended := false
		for i := range r.Handle {
			if in, ended = w.handle(&r.Handle[i], in); ended {
				break
			}
		}
		if matched == maybe {
			continue
		}
		if r.Group != "" {
			taken[r.Group] = true
		}
		if ended || r.Terminal {
			return in, true
		}
		in.site = f.site
		f = in
	}
	return f, false
}

func (w *walker) handle(h *handler, f flow) (_ flow, ended bool) {
	switch h.Handler {
	case "dovecot_push_guard":
		for _, guard := range h.Paths {
			f.guarded = f.guarded || below(f.path, guard) || below(f.original, guard)
		}
	case "dovecot_push_notify": // which hands nothing on of what is its own
		return f, h.Path != "" && below(f.path, h.Path)
	case "subroute":
		failed := f
		failed.failed = true
		w.walk(h.Errors.Routes, failed)
		return w.walk(h.Routes, f)
	case "rewrite":
		if rest, ok := strings.CutPrefix(f.path, h.StripPathPrefix); ok && h.StripPathPrefix != "" {
			f.path = "/" + strings.TrimPrefix(rest, "/")
		}
	case "reverse_proxy":
		w.arrive(h, f)
		return f, true
	case "static_response", "error":
		return f, true
	}
	return f, false
}

// arrive records which backends a flow reaches.
func (w *walker) arrive(h *handler, f flow) {
	if !slices.ContainsFunc(w.guards, func(guard string) bool { return below(f.path, guard) }) {
		return
	}
	backends := []string{"a dynamic upstream"}
	if len(h.Upstreams) > 0 {
		backends = nil
	}
	for _, upstream := range h.Upstreams {
		backends = append(backends, upstream.Dial)
	}
	for _, backend := range backends {
		if f.guarded {
			w.guarded[backend] = true
		} else {
			w.unguarded = append(w.unguarded, passage{site: f.site, failed: f.failed, backend: backend})
		}
	}
}

// certainty is whether a route takes a path.
type certainty uint8

const (
	never certainty = iota
	maybe           // it depends on something else than the path
	surely
)

// matches reports whether the route takes a path, whether only from some
// addresses, and for which hosts.
func (r *route) matches(p string) (result certainty, byAddress bool, hosts string) {
	if len(r.Match) == 0 {
		return surely, false, ""
	}
	byAddress = true
	for _, set := range r.Match {
		one, address := surely, false
		for kind, raw := range set {
			switch kind {
			case "path":
				var patterns []string
				if json.Unmarshal(raw, &patterns) != nil {
					one = min(one, maybe)
				} else if !slices.ContainsFunc(patterns, func(pattern string) bool { return matchesPath(pattern, p) }) {
					one = never
				}
			case "host":
				var names []string
				_ = json.Unmarshal(raw, &names)
				hosts = strings.Join(names, ", ")
				one = min(one, maybe)
			case "remote_ip", "client_ip":
				address = true
				one = min(one, maybe)
			default:
				one = min(one, maybe)
			}
		}
		if one != never {
			byAddress = byAddress && address
		}
		result = max(result, one)
	}
	return result, byAddress && result != never, hosts
}

// matchesPath does what Caddy's matcher path does.
func matchesPath(pattern, p string) bool {
	pattern, p = strings.ToLower(pattern), strings.ToLower(p)
	begins, ends := strings.HasPrefix(pattern, "*"), strings.HasSuffix(pattern, "*")
	inner := strings.Trim(pattern, "*")
	switch {
	case pattern == "*":
		return true
	case strings.Count(pattern, "*") == 2 && begins && ends:
		return strings.Contains(p, inner)
	case strings.Count(pattern, "*") == 1 && begins:
		return strings.HasSuffix(p, inner)
	case strings.Count(pattern, "*") == 1 && ends:
		return strings.HasPrefix(p, inner)
	}
	matched, _ := path.Match(pattern, p)
	return matched
}
