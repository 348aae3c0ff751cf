// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// notifyPrefix is what the middleware serves for servers only.
const notifyPrefix = "/preliminary"

// errNoLocation means that the file guards nothing that we know.
var errNoLocation = errors.New("there is no <Location " + notifyPrefix + "> in it")

// ReadApache reads a configuration of Apache: the guarded location, the
// balancer behind it, and the name of the virtual host that has them.
func (s *Source) ReadApache(file string, r io.Reader) error {
	top, err := parseApache(file, r)
	if err != nil {
		return err
	}
	s.Apache = &Apache{Policy: "round_robin"}
	reader := &apacheReader{source: s, apache: s.Apache, balancers: make(map[string]directive)}
	reader.collect(top, nil)
	if !reader.found {
		s.Apache = nil
		return errNoLocation
	}
	reader.finish()
	return nil
}

// apacheReader gathers what is spread over the file.
type apacheReader struct {
	source    *Source
	apache    *Apache
	balancers map[string]directive // by name
	passes    []pass
	found     bool
	host      []string // names of the virtual host of the location
}

// pass is one ProxyPass: where from, where to.
type pass struct {
	path, target string
	params       []string
	where        string
}

// collect walks through the sections. names are those of the virtual host
// around them.
func (a *apacheReader) collect(all []directive, names []string) {
	for _, d := range all {
		switch d.name {
		case "servername", "serveralias":
			names = append(names, d.args...)
		}
	}
	for _, d := range all {
		switch d.name {
		case "virtualhost":
			a.collect(d.block, nil)
		case "ifmodule", "ifdefine", "ifversion":
			a.collect(d.block, names)
		case "location":
			a.location(d, names)
		case "locationmatch":
			if strings.Contains(strings.Join(d.args, " "), "preliminary") {
				a.source.leave(d.where, "a LocationMatch is not understood: write its networks into allow by hand")
			}
		case "proxy":
			if len(d.args) == 1 {
				if name, ok := strings.CutPrefix(d.args[0], "balancer://"); ok {
					a.balancers[strings.TrimSuffix(name, "/")] = d
				}
			}
		case "proxypass":
			if len(d.args) >= 2 {
				a.passes = append(a.passes, pass{d.args[0], d.args[1], d.args[2:], d.where})
			}
		case "include", "includeoptional":
			a.source.leave(d.where, "the files of an %s are not read: give them with --apache, one at a time", d.name)
		}
	}
}

func (a *apacheReader) location(d directive, names []string) {
	if len(d.args) != 1 || !strings.HasPrefix(d.args[0], notifyPrefix) {
		return
	}
	if a.found {
		a.source.leave(d.where, "a second location %s is not taken over", d.args[0])
		return
	}
	a.found = true
	a.apache.Path = d.args[0]
	a.host = names
	rules := accessRules{source: a.source, order: "deny,allow"}
	rules.read(d.block)
	rules.result(a.apache, d.where)
	for _, in := range d.block {
		if in.name != "proxypass" || len(in.args) == 0 {
			continue
		}
		args := in.args
		if len(args) > 1 && strings.HasPrefix(args[0], "/") { // with the path, which the section has already said
			args = args[1:]
		}
		a.passes = append(a.passes, pass{d.args[0], args[0], args[1:], in.where})
	}
}

// finish finds the nodes behind the location.
func (a *apacheReader) finish() {
	for _, name := range a.host {
		if strings.ContainsAny(name, "*?") {
			a.source.leave("ServerAlias "+name, "a name with a wildcard is not taken over")
		} else {
			a.apache.Names = append(a.apache.Names, hostOf(name))
		}
	}
	i := slices.IndexFunc(a.passes, func(p pass) bool {
		return p.target != "!" && strings.HasPrefix(a.apache.Path, strings.TrimSuffix(p.path, "/"))
	})
	if i < 0 {
		a.source.leave("ProxyPass", "there is none for %s: write the nodes of the middleware into reverse_proxy by hand", a.apache.Path)
		return
	}
	p := a.passes[i]
	for j, other := range a.passes {
		if j != i && other.target != "!" {
			a.source.leave(other.where, "ProxyPass %s is not taken over: the site below hands everything to the same nodes", other.path)
		}
	}
	name, balanced := strings.CutPrefix(p.target, "balancer://")
	if !balanced {
		a.member(directive{args: append([]string{p.target}, p.params...), where: p.where})
		return
	}
	name, _, _ = strings.Cut(name, "/")
	balancer, ok := a.balancers[name]
	if !ok {
		a.source.leave(p.where, "the balancer %s is not in this file: write the nodes of the middleware into reverse_proxy by hand", name)
		return
	}
	a.settings(p.params, p.where)
	for _, d := range balancer.block {
		switch d.name {
		case "balancermember":
			a.member(d)
		case "proxyset":
			a.settings(d.args, d.where)
		case "order", "allow", "deny", "require": // who may use the proxy: the location says it
		default:
			a.source.leave(d.where, "%s is not taken over", d.name)
		}
	}
}

// hostOf is what a ServerName names: scheme and port are for links back to it.
func hostOf(name string) string {
	if _, after, ok := strings.Cut(name, "://"); ok {
		name = after
	}
	if host, _, err := net.SplitHostPort(name); err == nil && !strings.Contains(host, ":") {
		return host
	}
	return name
}

// settings reads what holds for all members.
func (a *apacheReader) settings(params []string, where string) {
	for _, param := range params {
		key, value, _ := strings.Cut(param, "=")
		switch strings.ToLower(key) {
		case "lbmethod":
			policy, ok := map[string]string{"byrequests": "round_robin", "bybusyness": "least_conn", "bytraffic": "least_conn"}[value]
			if !ok {
				a.source.leave(where, "lbmethod=%s has no counterpart: round_robin is used", value)
				policy = "round_robin"
			}
			a.apache.Policy = policy
		case "stickysession":
			a.apache.Sticky = true
		case "scolonpathdelim", "nofailover", "maxattempts": // of sessions, which notifications have none of
		case "timeout", "connectiontimeout", "retry":
			a.source.leave(where, "%s of the balancer is not taken over", param)
		default:
			a.source.leave(where, "%s is not taken over", param)
		}
	}
}

// member reads one node.
func (a *apacheReader) member(d directive) {
	if len(d.args) == 0 {
		return
	}
	u, err := url.Parse(d.args[0])
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		a.source.leave(d.where, "a member that is neither http:// nor https:// is not taken over (for ajp:// use the HTTP connector of the node)")
		return
	}
	m := Member{Scheme: u.Scheme, Address: u.Host, Weight: 1}
	if u.Port() == "" {
		m.Address += map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	}
	for _, param := range d.args[1:] {
		key, value, _ := strings.Cut(param, "=")
		number, err := strconv.Atoi(value)
		switch strings.ToLower(key) {
		case "loadfactor":
			if err == nil && number > 0 {
				m.Weight = number
			}
		case "retry":
			if err == nil && number > 0 {
				m.Retry = value + "s"
			}
		case "timeout":
			if err == nil && number > 0 {
				m.Timeout = value + "s"
			}
		case "status":
			m.Spare = strings.ContainsAny(value, "HhRr")
			if m.Spare {
				a.source.leave(d.where, "%s is a hot standby: Caddy has none, it is left out", m.Address)
			} else if strings.ContainsAny(value, "DdSs") {
				a.source.leave(d.where, "%s is switched off, it is left out", m.Address)
				m.Spare = true
			}
		case "route", "redirect": // of sessions
		case "smax", "ttl", "min", "max", "acquire", "keepalive", "connectiontimeout", "ping", "flushpackets", "disablereuse", "enablereuse":
			// Caddy's connection pool needs none of these.
		default:
			a.source.leave(d.where, "%s is not taken over", param)
		}
	}
	a.apache.Members = append(a.apache.Members, m)
}

// network is an address, a network or a part of one as the option allow takes
// it; empty if it is something else.
func network(s string) string {
	if address, mask, ok := strings.Cut(s, "/"); ok {
		if strings.Contains(mask, ".") { // 10.0.0.0/255.0.0.0
			m, err := netip.ParseAddr(mask)
			if err != nil || !m.Is4() {
				return ""
			}
			b := m.As4()
			ones := bits.LeadingZeros32(^binary.BigEndian.Uint32(b[:]))
			if binary.BigEndian.Uint32(b[:])<<ones != 0 { // it has holes
				return ""
			}
			s = address + "/" + strconv.Itoa(ones)
		}
		if _, err := netip.ParsePrefix(s); err == nil {
			return s
		}
		if isPartial(address) { // 10.1/16
			full := strings.TrimSuffix(address, ".")
			for strings.Count(full, ".") < 3 {
				full += ".0"
			}
			if _, err := netip.ParsePrefix(full + s[len(address):]); err == nil {
				return full + s[len(address):]
			}
		}
		return ""
	}
	if _, err := netip.ParseAddr(s); err == nil || isPartial(s) {
		return s
	}
	return ""
}
