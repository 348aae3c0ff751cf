// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// balancer is a group of nodes.
type balancer struct {
	members []member
	policy  string
	sticky  bool
}

// member is one node.
type member struct {
	upstream string // as reverse_proxy takes it
	weight   int
	standby  bool // used when no other can be
	set      int  // lbset: the next one is used when none of the set can be
	timeout  string
	dial     string
}

// balancerName returns the name in balancer://name/path, in lower case.
func balancerName(target string) (string, bool) {
	const scheme = "balancer://"
	if len(target) < len(scheme) || !strings.EqualFold(target[:len(scheme)], scheme) {
		return "", false
	}
	name, _, _ := strings.Cut(target[len(scheme):], "/")
	return strings.ToLower(name), true
}

func (r *apacheReader) balancer(name string) *balancer {
	b := r.balancers[name]
	if b == nil {
		b = &balancer{policy: "round_robin"}
		r.balancers[name] = b
	}
	return b
}

// known returns a group of the server or of the main server, or nil.
func (r *apacheReader) known(name string) *balancer {
	if b := r.balancers[name]; b != nil {
		return b
	}
	return r.inherited[name]
}

// read reads the directives about the group in a section Proxy. Those about
// access are read elsewhere.
func (b *balancer) read(r *apacheReader, d directive) {
	for _, in := range d.block {
		if in.name == "balancermember" || in.name == "proxyset" {
			b.directive(r, in)
		}
	}
}

func (b *balancer) directive(r *apacheReader, d directive) {
	switch {
	case d.unknown != "":
		r.refuse(d, d.unknown+" is defined in none of these files: give the file with its Define, too")
	case d.name == "proxyset":
		b.settings(r, d.args, d.where)
	case len(d.args) > 0:
		if m, ok := r.member(d.args[0], d.args[1:], d.where); ok {
			b.members = append(b.members, m)
		}
	}
}

// settings reads the options of the group.
func (b *balancer) settings(r *apacheReader, params []string, where string) {
	for _, param := range params {
		key, value, _ := strings.Cut(param, "=")
		switch strings.ToLower(key) {
		case "lbmethod":
			policy, ok := map[string]string{"byrequests": "round_robin", "bybusyness": "least_conn"}[strings.ToLower(value)]
			if !ok {
				r.source.leave(where, "%s has no counterpart: round_robin is used", param)
				policy = "round_robin"
			}
			b.policy = policy
		case "stickysession":
			b.sticky = true
			r.source.leave(where, "%s: Caddy keeps people at a node by a cookie of its own; everybody may change the node once", param)
		case "timeout":
			// How long a request waits for a free node. Caddy does not wait.
		case "scolonpathdelim", "stickysessionsep", "maxattempts", "nonce", "growth", "forcerecovery":
		default:
			r.source.leave(where, "%s is not taken over", param)
		}
	}
}

// member reads one node with its options.
func (r *apacheReader) member(target string, params []string, where string) (member, bool) {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		if err == nil && u.User != nil {
			target = "a node with credentials"
		}
		r.source.leave(where, "%s is neither http:// nor https://, and left out (for ajp:// use the HTTP connector of the node)", target)
		return member{}, false
	}
	if strings.Trim(u.Path, "/") != "" {
		r.source.leave(where, "%s: a node with a path is left out", target)
		return member{}, false
	}
	m := member{upstream: u.Host, weight: 1}
	if u.Port() == "" {
		m.upstream += map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	}
	if u.Scheme == "https" {
		m.upstream = "https://" + m.upstream
		r.source.leave(where, "%s: Caddy verifies its certificate, by what the system trusts", target)
	}
	out := false
	for _, param := range params {
		key, value, _ := strings.Cut(param, "=")
		number, err := strconv.Atoi(value)
		switch strings.ToLower(key) {
		case "loadfactor":
			if weight, err := strconv.ParseFloat(value, 64); err == nil && weight > 0 {
				m.weight = int(max(1, weight))
			}
		case "timeout":
			m.timeout = seconds(value)
		case "connectiontimeout":
			m.dial = seconds(value)
		case "lbset":
			if err == nil {
				m.set = number
			}
		case "status":
			out = m.status(value) || out
		case "retry", "route", "redirect", "smax", "ttl", "min", "max", "acquire", "keepalive", "ping", "flushpackets", "flushwait", "disablereuse",
			"enablereuse", "iobuffersize", "receivebuffersize", "responsefieldsize", "nocanon":
			// Options of Apache's connections to the node. What replaces retry is in
			// group.lines.
		default:
			r.source.leave(where, "%s is not taken over", param)
		}
	}
	if out {
		r.source.leave(where, "%s is switched off, and left out", target)
	}
	return m, !out
}

// status reads the flags of a node. It reports whether it is out of use.
func (m *member) status(flags string) (out bool) {
	set := true
	for _, flag := range strings.ToUpper(flags) {
		switch flag {
		case '+', '-':
			set = flag == '+'
		case 'H', 'R':
			m.standby = set
		case 'D', 'S', 'N':
			out = set
		}
	}
	return out
}

// group is the content of one reverse_proxy.
type group struct {
	upstreams []string
	weights   []string
	policy    string
	sticky    bool
	standby   bool // the first one that works is used
	timeout   string
	dial      string
	host      bool // the node sees the name that people use
}

// group finds the nodes behind a target, and the path there.
func (r *apacheReader) group(p *pass) (g group, path string, err error) {
	name, balanced := balancerName(p.target)
	b := &balancer{policy: "round_robin"}
	if balanced {
		known := r.known(name)
		if known == nil || len(known.members) == 0 {
			return g, "", fmt.Errorf("%s: the nodes of balancer://%s are in none of these files: give the file with its BalancerMember with --apache, too", p.where, name)
		}
		b = known
		path = p.target[len("balancer://")+len(name):]
	} else {
		u, err := url.Parse(p.target)
		if err != nil || u.RawQuery != "" || u.Fragment != "" {
			return g, "", fmt.Errorf("%s: the target of this ProxyPass is not understood", p.where)
		}
		m, ok := r.member(u.Scheme+"://"+u.Host, p.params, p.where)
		if !ok {
			return g, "", fmt.Errorf("%s: the target of this ProxyPass is not understood", p.where)
		}
		b.members = []member{m}
		path = u.EscapedPath()
	}
	if strings.ContainsAny(path, "{}`\" \t%$") {
		return g, "", fmt.Errorf("%s: the path of the target of this ProxyPass is not understood", p.where)
	}
	return b.group(r, p), path, nil
}

func (b *balancer) group(r *apacheReader, p *pass) group {
	lowest := slices.MinFunc(b.members, func(a, b member) int { return a.set - b.set }).set
	var active, standby []member
	for _, m := range b.members {
		if m.standby || m.set > lowest {
			standby = append(standby, m)
		} else {
			active = append(active, m)
		}
	}
	if len(active) == 0 {
		active, standby = standby, nil
	}
	g := group{policy: b.policy, sticky: b.sticky}
	switch {
	case len(standby) > 0 && len(active) == 1:
		g.standby = true
		active = append(active, standby...)
	case len(standby) > 0:
		r.source.leave(p.where, "Caddy knows no hot standby for several nodes: %s left out", standby[0].upstream)
	}
	secure := strings.HasPrefix(active[0].upstream, "https://")
	for _, m := range active {
		if strings.HasPrefix(m.upstream, "https://") != secure {
			r.source.leave(p.where, "http:// and https:// do not mix in one group: %s is left out", m.upstream)
			continue
		}
		g.upstreams = append(g.upstreams, m.upstream)
		g.weights = append(g.weights, strconv.Itoa(m.weight))
		g.timeout, g.dial = longer(g.timeout, m.timeout), longer(g.dial, m.dial)
	}
	return g
}

// longer returns the longer of two durations as Caddy writes them.
func longer(a, b string) string {
	first, _ := time.ParseDuration(a)
	second, _ := time.ParseDuration(b)
	if second > first {
		return b
	}
	return a
}

// balance returns the lb_policy for requests that belong to no session.
func (g *group) balance() string {
	if g.policy == "round_robin" && len(slices.Compact(slices.Clone(g.weights))) > 1 {
		return "weighted_round_robin " + strings.Join(g.weights, " ")
	}
	return g.policy
}

// lines returns the options of reverse_proxy. sessions means that people use it,
// not Dovecot.
func (g *group) lines(sessions bool) (lines []string) {
	if len(g.upstreams) > 1 {
		switch {
		case g.standby:
			lines = append(lines, "lb_policy first")
		case g.sticky && sessions && g.balance() != g.policy:
			lines = append(lines, "lb_policy cookie {", "\tfallback "+g.balance(), "}")
		case g.sticky && sessions:
			lines = append(lines, "lb_policy cookie")
		default:
			lines = append(lines, "lb_policy "+g.balance())
		}
		// Apache tries another node at once, and all of them again if all have
		// failed. A failed node is skipped for so short a time that the same
		// happens here.
		dial, err := time.ParseDuration(g.dial)
		if err != nil {
			dial = 3 * time.Second // Caddy's own
		}
		try := time.Duration(len(g.upstreams))*dial + 5*time.Second
		lines = append(lines, "lb_try_duration "+try.String(), "fail_duration 2s")
	}
	if g.host && sessions {
		lines = append(lines, "header_up Host {upstream_hostport}")
	}
	if (g.timeout != "" && sessions) || g.dial != "" {
		lines = append(lines, "transport http {")
		if g.dial != "" {
			lines = append(lines, "\tdial_timeout "+g.dial)
		}
		if g.timeout != "" && sessions {
			lines = append(lines, "\tresponse_header_timeout "+g.timeout, "\tread_timeout "+g.timeout, "\twrite_timeout "+g.timeout)
		}
		lines = append(lines, "}")
	}
	return lines
}
