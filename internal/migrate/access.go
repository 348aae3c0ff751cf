// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"slices"
	"strings"
)

// Access is computed as a set of source addresses that holds nobody whom Apache
// refuses. A rule that depends on anything else (a host name, a variable, an
// expression) allows nobody, and a refusal that does refuses everybody.

// accessRules are the rules of one section, in the syntax of Apache 2.2 (Order,
// Deny, Allow) and of 2.4 (Require). If a section has both, both apply.
type accessRules struct {
	source *Source
	old    *oldRules
	// require are the verdicts of Require and its blocks.
	require *verdict
	// closed is why nobody is allowed, whatever the rules say.
	closed string
}

// oldRules are Order, Allow and Deny. A section that has one of them replaces all
// three.
type oldRules struct {
	where       string
	allowFirst  bool // Order Allow,Deny
	allow, deny addresses
	satisfyAny  bool
}

// verdict is the result of a Require or a block of them: some addresses are
// granted, some are denied, and others are left open.
type verdict struct {
	where           string
	granted, denied addresses
	// How many of it require addresses, passwords, and something else.
	networks, passwords, others int
}

// passwordsOnly reports whether only passwords are required.
func (v *verdict) passwordsOnly() bool {
	return v.passwords > 0 && v.networks == 0 && v.others == 0
}

// read reads a directive of a section. It reports whether the directive is one
// about access.
func (a *accessRules) read(d directive) bool {
	switch d.name {
	case "order", "allow", "deny", "satisfy":
		if a.old == nil {
			a.old = &oldRules{where: d.where}
		}
		a.readOld(d)
	case "require", "requireany", "requireall", "requirenone":
		v := a.requirement(d)
		if a.require != nil { // several of them: one is enough
			v = combine("requireany", d.where, []verdict{*a.require, v})
		}
		a.require = &v
	case "authmerging":
		if len(d.args) != 1 || !strings.EqualFold(d.args[0], "off") {
			a.close(d, "")
		}
	case "limit", "limitexcept", "if", "elseif", "else":
		a.close(d, "")
	case "sslrequire", "sslrequiressl":
		a.close(d, "")
	default:
		return false
	}
	return true
}

// close allows nobody.
func (a *accessRules) close(d directive, why string) {
	if why == "" {
		why = "it may refuse somebody, and is not understood"
	}
	a.source.leave(d.where, "%s: %s; nobody comes in there", &d, why)
	a.closed = d.where
}

func (a *accessRules) readOld(d directive) {
	text := strings.ToLower(strings.Join(d.args, ""))
	switch {
	case d.name == "order" && (text == "allow,deny" || text == "mutual-failure"):
		a.old.allowFirst = true
	case d.name == "order" && text == "deny,allow":
		a.old.allowFirst = false
	case d.name == "satisfy" && text == "any":
		a.old.satisfyAny = true
	case d.name == "satisfy" && text == "all":
		a.old.satisfyAny = false
	case (d.name == "allow" || d.name == "deny") && len(d.args) > 1 && strings.EqualFold(d.args[0], "from"):
		for _, arg := range d.args[1:] {
			a.from(d, arg)
		}
	default:
		a.close(d, "")
	}
}

// from reads one argument of Allow or Deny.
func (a *accessRules) from(d directive, arg string) {
	set, ok := readAddresses(arg)
	if strings.EqualFold(arg, "all") {
		set, ok = everybody, true
	}
	switch {
	case d.name == "allow" && !ok:
		a.source.leave(d.where, "Allow from %s is not taken over: only addresses and networks are", arg)
	case d.name == "allow":
		a.old.allow = a.old.allow.or(set)
	case !ok:
		a.source.leave(d.where, "Deny from %s: only addresses and networks are understood, so it keeps everybody out", arg)
		a.old.deny = everybody
	default:
		a.old.deny = a.old.deny.or(set)
	}
}

func (o *oldRules) addresses() addresses {
	if o.allowFirst { // who is in no Allow stays out
		return o.allow.without(o.deny)
	}
	return everybody.without(o.deny).or(o.allow)
}

// passwords are the kinds of Require that Apache checks with a password.
var passwords = []string{
	"valid-user", "user", "group", "file-owner", "file-group", "dbm-group", "dbm-file-group", "dbd-group", "dbd-login",
	"ldap-user", "ldap-group", "ldap-dn", "ldap-attribute", "ldap-filter", "ldap-search",
}

func (a *accessRules) requirement(d directive) verdict {
	if d.open {
		var all []verdict
		for _, in := range d.block {
			switch in.name {
			case "require", "requireany", "requireall", "requirenone":
				all = append(all, a.requirement(in))
			default:
				a.close(in, "")
			}
		}
		return combine(d.name, d.where, all)
	}
	v := verdict{where: d.where}
	args := d.args
	not := len(args) > 0 && strings.EqualFold(args[0], "not")
	if not {
		args = args[1:]
	}
	kind := ""
	if len(args) > 0 {
		kind, args = strings.ToLower(args[0]), args[1:]
	}
	known := true
	switch {
	case kind == "all" && len(args) == 1 && strings.EqualFold(args[0], "granted"):
		v.networks, v.granted = 1, everybody
	case kind == "all" && len(args) == 1 && strings.EqualFold(args[0], "denied"):
		v.networks = 1
	case kind == "local":
		v.networks = 1
		for _, text := range []string{"127.0.0.0/8", "::1"} {
			set, _ := readAddresses(text)
			v.granted = v.granted.or(set)
		}
		a.source.leave(d.where, "Require local: also lets in what this machine sends to an address of its own; only 127.0.0.0/8 and ::1 are taken over")
		known = !not // of its negation more would be refused
	case kind == "ip" && len(args) > 0:
		v.networks = 1
		for _, arg := range args {
			set, ok := readAddresses(arg)
			if !ok {
				a.source.leave(d.where, "Require ip %s is not understood", arg)
				known = known && !not
			}
			v.granted = v.granted.or(set)
		}
	case slices.Contains(passwords, kind):
		v.passwords = 1
		return v
	default:
		known = false
		a.source.leave(d.where, "%s is not understood: it lets nobody in", &d)
	}
	switch {
	case !known:
		v.others, v.granted, v.denied = 1, addresses{}, everybody
	case not:
		v.granted, v.denied = addresses{}, v.granted
	default:
		v.denied = everybody.without(v.granted)
	}
	return v
}

// combine returns the verdict of a block of requirements: all, any, or none.
func combine(block, where string, all []verdict) verdict {
	v := verdict{where: where}
	for _, one := range all {
		v.granted, v.denied = v.granted.or(one.granted), v.denied.or(one.denied)
		v.networks += one.networks
		v.passwords += one.passwords
		v.others += one.others
	}
	switch {
	case block == "requirenone" && v.others > 0:
		v.granted, v.denied = addresses{}, everybody
	case block == "requirenone":
		v.granted, v.denied = addresses{}, v.granted
	case block == "requireall":
		v.granted = v.granted.without(v.denied)
	default:
		v.denied = v.denied.without(v.granted)
	}
	return v
}

// access is who is allowed at one path. Of each kind of rules, those of the last
// section that has any apply.
type access struct {
	old     *oldRules
	require *verdict
	closed  string
}

func (a *access) override(rules *accessRules) {
	if rules.old != nil {
		a.old = rules.old
	}
	if rules.require != nil {
		a.require = rules.require
	}
	if rules.closed != "" {
		a.closed = rules.closed
	}
}

// addresses returns the allowed addresses. Passwords are reported to s.
func (a *access) addresses(s *Source) addresses {
	if a.closed != "" {
		return addresses{}
	}
	allowed := everybody
	if a.old != nil {
		allowed = a.old.addresses()
	}
	if a.require == nil || a.old != nil && a.old.satisfyAny {
		return allowed
	}
	if !a.require.passwordsOnly() {
		allowed = allowed.and(a.require.granted)
	}
	switch {
	case a.require.passwords == 0 || allowed.empty():
	case !allowed.few():
		s.leave(a.require.where, "only a password keeps people out, and no password is taken over: nobody comes in there")
		return addresses{}
	default:
		s.leave(a.require.where, "the password that Apache asks for is not taken over: only the networks are")
	}
	return allowed
}
