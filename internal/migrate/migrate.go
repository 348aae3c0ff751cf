// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package migrate makes a Caddyfile of what stood before: the configuration of
// an Apache in front of the Open-Xchange middleware, and the properties of the
// middleware itself. In go files, out comes a Caddyfile that does the same, and
// a list of what could not be taken over. Secrets are never printed: the
// Caddyfile has placeholders in their places.
package migrate

import (
	_ "embed"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/template"
)

// Source is what was found.
type Source struct {
	// Apache is the guarded location and what is behind it, nil if none was
	// read.
	Apache *Apache
	// Properties are those of the middleware, nil if none were read.
	Properties *Properties
	// Left is what could not be taken over, in words for the operator, each
	// with the file and line where it is.
	Left []string
}

// Apache is what an Apache did for the middleware.
type Apache struct {
	// Path that was guarded, such as /preliminary.
	Path string
	// Allow are the networks that may come in, in a form that the option
	// allow takes.
	Allow []string
	// Everybody tells that Apache let everybody in.
	Everybody bool
	// Names are the server names of the virtual host, the first one its
	// ServerName.
	Names []string
	// Members are the nodes of the middleware.
	Members []Member
	// Policy is the lb_policy of Caddy that does what lbmethod did.
	Policy string
	// Sticky tells that sessions stayed at one node.
	Sticky bool
}

// Member is one node of the middleware.
type Member struct {
	Scheme, Address string
	Weight          int
	// Retry and Timeout are durations as Caddy writes them; empty if Apache
	// had none.
	Retry, Timeout string
	Spare          bool
}

// Properties are those properties of the middleware that matter here.
type Properties struct {
	// Login is com.openexchange.rest.services.basic-auth.login.
	Login string
	// HasPassword tells that the password that goes with it is set.
	HasPassword bool
	// DoveAdm is nil if the connector was not configured.
	DoveAdm *DoveAdm
}

// DoveAdm is com.openexchange.dovecot.doveadm.*.
type DoveAdm struct {
	Endpoints []string
	// Options are the other settings, as options of the Caddyfile.
	Options [][2]string
}

//go:embed Caddyfile.tmpl
var caddyfile string

var output = template.Must(template.New("Caddyfile").Funcs(template.FuncMap{"join": strings.Join, "token": token}).Parse(caddyfile))

// Write writes the Caddyfile.
func (s *Source) Write(w io.Writer) error { return output.Execute(w, s) }

// token writes text so that a Caddyfile has it as one word.
func token(text string) string {
	if text != "" && !strings.ContainsAny(text, " \t\r\n\"`#{}") {
		return text
	}
	return `"` + strings.ReplaceAll(text, `"`, `\"`) + `"`
}

func (s *Source) leave(where, format string, args ...any) {
	s.Left = append(s.Left, where+": "+fmt.Sprintf(format, args...))
}

// Guarded is the path for the guard.
func (a *Apache) Guarded() string { return strings.TrimRight(a.Path, "/") + "/*" }

// Site is the address of the site that Dovecot reports to.
func (a *Apache) Site() string {
	if len(a.Names) > 0 {
		return a.Names[0]
	}
	return "push.internal.example"
}

// Upstreams are the members that are not spare, as reverse_proxy takes them.
func (a *Apache) Upstreams() string {
	var all []string
	for _, m := range a.Members {
		if !m.Spare {
			all = append(all, m.upstream())
		}
	}
	if len(all) == 0 {
		return "ox1.internal.example:8009"
	}
	return strings.Join(all, " ")
}

func (m *Member) upstream() string {
	if m.Scheme == "https" {
		return "https://" + m.Address
	}
	return m.Address
}

// Balance is the policy for calls that have no session.
func (a *Apache) Balance() string {
	weights, differ := []string{}, false
	for _, m := range a.Members {
		if m.Spare {
			continue
		}
		weights = append(weights, fmt.Sprint(m.Weight))
		differ = differ || m.Weight != a.Members[0].Weight
	}
	if a.Policy == "round_robin" && differ {
		return "weighted_round_robin " + strings.Join(weights, " ")
	}
	return a.Policy
}

// FailDuration is the longest time that a failed member was left alone.
func (a *Apache) FailDuration() string {
	return first(a.Members, func(m Member) string { return m.Retry })
}

// Timeout is how long a member could take to answer.
func (a *Apache) Timeout() string {
	return first(a.Members, func(m Member) string { return m.Timeout })
}

func first(members []Member, of func(Member) string) string {
	for _, m := range members {
		if v := of(m); v != "" {
			return v
		}
	}
	return ""
}

// isPartial reports whether s is a partial address of Apache: the first one to
// three bytes of an IPv4 address.
func isPartial(s string) bool {
	parts := strings.Split(strings.TrimSuffix(s, "."), ".")
	if len(parts) > 3 {
		return false
	}
	full := strings.Join(append(parts, []string{"0", "0", "0"}[:4-len(parts)]...), ".")
	_, err := netip.ParseAddr(full)
	return err == nil
}
