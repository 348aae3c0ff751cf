// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"slices"
	"strings"
)

// accessRules are who may come in, in the words of Apache 2.2 (Order, Deny,
// Allow) and of 2.4 (Require).
type accessRules struct {
	source *Source
	order  string
	// Of Order, Deny and Allow.
	allow, deny       []string
	allowAll, denyAll bool
	old               bool // there is one of them
	// Of Require.
	require                []string
	requireAll, requireOne bool // granted to all; there is one
}

func (a *accessRules) read(block []directive) {
	for _, d := range block {
		switch d.name {
		case "order":
			a.old = true
			a.order = strings.ToLower(strings.Join(d.args, ""))
		case "allow":
			a.old = true
			a.from(d, &a.allow, &a.allowAll)
		case "deny":
			a.old = true
			a.from(d, &a.deny, &a.denyAll)
		case "require":
			a.requires(d)
		case "requireany":
			a.read(d.block)
		case "requireall", "requirenone":
			a.source.leave(d.where, "%s is not understood: look at allow", d.name)
		case "satisfy":
			if len(d.args) == 1 && strings.EqualFold(d.args[0], "any") {
				a.source.leave(d.where, "Satisfy Any is not taken over: only the networks are")
			}
		case "proxypass", "proxypassreverse", "options", "allowoverride":
		default:
			a.source.leave(d.where, "%s is not taken over", d.name)
		}
	}
}

// from reads the arguments of Allow and Deny.
func (a *accessRules) from(d directive, networks *[]string, all *bool) {
	if len(d.args) < 2 || !strings.EqualFold(d.args[0], "from") {
		a.source.leave(d.where, "%s %s is not understood", d.name, strings.Join(d.args, " "))
		return
	}
	for _, arg := range d.args[1:] {
		switch n := network(arg); {
		case strings.EqualFold(arg, "all"):
			*all = true
		case n != "":
			*networks = append(*networks, n)
		default:
			a.source.leave(d.where, "%s from %s is not taken over: only addresses and networks are", d.name, arg)
		}
	}
}

func (a *accessRules) requires(d directive) {
	a.requireOne = true
	if len(d.args) == 0 {
		return
	}
	kind, rest := strings.ToLower(d.args[0]), d.args[1:]
	switch {
	case kind == "all" && len(rest) == 1 && strings.EqualFold(rest[0], "granted"):
		a.requireAll = true
	case kind == "all": // denied
	case kind == "local":
		a.require = append(a.require, "127.0.0.0/8", "::1")
	case kind == "ip":
		for _, arg := range rest {
			if n := network(arg); n != "" {
				a.require = append(a.require, n)
			} else {
				a.source.leave(d.where, "Require ip %s is not understood", arg)
			}
		}
	default:
		a.source.leave(d.where, "Require %s is not taken over: only ip, local and all are", strings.Join(d.args, " "))
	}
}

// result puts into apache who may come in.
func (a *accessRules) result(apache *Apache, where string) {
	switch {
	case a.requireOne && a.old:
		a.source.leave(where, "it mixes Order/Allow/Deny with Require: only Require is taken over")
		fallthrough
	case a.requireOne:
		apache.Allow, apache.Everybody = a.require, a.requireAll
	case a.order == "allow,deny" || a.order == "mutual-failure": // who is in no Allow stays out
		apache.Allow, apache.Everybody = a.allow, a.allowAll && !a.denyAll
		if a.denyAll {
			apache.Allow = nil
		}
		for _, n := range a.deny {
			a.source.leave(where, "Deny from %s is not taken over: allow knows no exceptions", n)
		}
	default: // deny,allow: who is in no Deny comes in
		apache.Allow, apache.Everybody = a.allow, a.allowAll || !a.denyAll
		if !a.denyAll && len(a.deny) > 0 {
			a.source.leave(where, "Deny from %s keeps only these out: allow names who comes in", strings.Join(a.deny, " "))
		}
	}
	slices.Sort(apache.Allow)
	apache.Allow = slices.Compact(apache.Allow)
	switch {
	case apache.Everybody:
		a.source.leave(where, "Apache lets everybody in: write the addresses of your mail servers into allow")
	case len(apache.Allow) == 0:
		a.source.leave(where, "Apache lets nobody in: write the addresses of your mail servers into allow")
	}
}
