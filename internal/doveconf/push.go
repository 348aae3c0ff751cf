// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveconf

import (
	"net"
	"regexp"
	"slices"
	"strings"
	"time"
)

// duration reads a duration as Dovecot writes it: 1500ms, 1 s, 2 mins.
func duration(s string) time.Duration {
	s = strings.ReplaceAll(s, " ", "")
	i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if i < 0 {
		i = len(s)
	}
	number, unit := s[:i], strings.TrimSuffix(s[i:], "s")
	unit = map[string]string{"": "s", "m": "ms", "ms": "ms", "msec": "ms", "sec": "s", "min": "m", "hour": "h", "h": "h"}[unit]
	if strings.HasSuffix(s, "m") {
		unit = "m"
	}
	d, _ := time.ParseDuration(number + unit)
	return d
}

// IMAPMetadata returns whether imap_metadata is on: for everybody, or for some
// networks only.
func (c *Config) IMAPMetadata() (everybody, somewhere bool) {
	everybody = isYes(c.root.get("imap_metadata"))
	for _, b := range c.root.of("protocol") {
		everybody = everybody || b.name == "imap" && isYes(b.get("imap_metadata"))
	}
	for _, kind := range []string{"remote", "local"} {
		for _, b := range c.root.of(kind) {
			somewhere = somewhere || isYes(b.get("imap_metadata"))
			for _, in := range b.of("protocol") {
				somewhere = somewhere || in.name == "imap" && isYes(in.get("imap_metadata"))
			}
		}
	}
	return everybody, everybody || somewhere
}

// CutsDomain reports whether auth_username_format maps logins that differ only in
// their domain to one user.
func (c *Config) CutsDomain() bool {
	format := c.root.get("auth_username_format")
	return localPart.MatchString(format) && !domainPart.MatchString(format)
}

// localPart and domainPart match the variables for the parts of a login: %Ln or
// %{username}, in 2.4 %{user|username|lower}.
var (
	localPart  = regexp.MustCompile(`%[A-Z0-9.-]*n|%\{[^}]*\busername\b`)
	domainPart = regexp.MustCompile(`%[A-Z0-9.-]*d|%\{[^}]*\bdomain\b`)
)

// Serves reports whether a protocol is on. An empty list is Dovecot's default.
// The files with which Debian's packages fill it are in the output of doveconf.
func (c *Config) Serves(protocol string) bool {
	if c.root.has("protocols") {
		return slices.Contains(strings.Fields(c.root.get("protocols")), protocol)
	}
	for _, b := range c.root.of("protocols") {
		for _, s := range b.settings {
			if s.name == protocol {
				return isYes(s.value)
			}
		}
	}
	return true
}

// DoveAdm has the settings of the DoveAdm HTTP API.
type DoveAdm struct {
	// Listen are its addresses, host:port; none if it does not listen.
	Listen []string
	// Secret means that there is a key or a password.
	Secret bool
	// Commands are those that may be called. Empty means all.
	Commands []string
	// Blocked means that the list is written in a form that permits nothing.
	Blocked bool
}

// DoveAdm returns the settings of the DoveAdm API.
func (c *Config) DoveAdm() DoveAdm {
	d := DoveAdm{Secret: c.root.get("doveadm_api_key") != "" || c.root.get("doveadm_password") != ""}
	for _, service := range c.root.of("service") {
		if service.name != "doveadm" {
			continue
		}
		for _, listener := range service.of("inet_listener") {
			port := listener.get("port")
			if listener.name != "http" && listener.get("type") != "http" || port == "" || port == "0" {
				continue
			}
			host := listener.get("address") + listener.get("listen")
			d.Listen = append(d.Listen, net.JoinHostPort(host, port))
		}
	}
	list := c.root.get("doveadm_allowed_commands")
	if !c.Is24() {
		for command := range strings.SplitSeq(list, ",") {
			if command = strings.TrimSpace(command); command != "" {
				d.Commands = append(d.Commands, command)
			}
		}
		return d
	}
	for command := range strings.FieldsSeq(list) {
		d.Commands = append(d.Commands, command)
	}
	d.Blocked = list != "" // 2.4 takes a list with commas for one command that there is not
	for _, b := range c.root.of("doveadm_allowed_commands") {
		for _, s := range b.settings {
			if isYes(s.value) {
				d.Commands = append(d.Commands, s.name)
			}
		}
	}
	return d
}
