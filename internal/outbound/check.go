// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// maxURL bounds an address. The longest endpoints of push services have a few
// hundred bytes.
const maxURL = 2048

// local are the ends of names that mean something in one's own network only
// (RFC 6761, 6762, 7686, 8375, and the one that ICANN reserved for it).
var local = []string{"localhost", "local", "internal", "home.arpa", "onion", "invalid"}

// Check judges a URL as far as it can be judged without DNS. The error is a
// [*RefusedError]. nil is no promise: the address that the host resolves to is
// judged when the connection is made.
func (p *Policy) Check(rawURL string) error {
	if !plain(rawURL) {
		return refuse(Malformed)
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return refuse(Malformed)
	}
	return p.check(u)
}

// plain reports whether s is free of what programs read in different ways.
func plain(s string) bool {
	return len(s) <= maxURL && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || r == '\\' || r == '#'
	})
}

func (p *Policy) check(u *url.URL) error {
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return refuse(Scheme)
	case u.Opaque != "" || u.Host == "" || strings.HasSuffix(u.Host, ":"):
		return refuse(Malformed)
	case u.User != nil:
		return refuse(Userinfo)
	case p.origins[u.Scheme+"://"+hostPort(u)]:
		return nil
	case u.Scheme != "https":
		return refuse(Scheme)
	case u.Port() != "" && u.Port() != p.port:
		return refuse(Port)
	}
	return p.checkHost(u.Hostname())
}

func (p *Policy) checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return refuse(Malformed)
		}
		return p.address(addr)
	}
	if !PublicName(strings.ToLower(host)) {
		return refuse(Name)
	}
	return nil
}

// PublicName reports whether a host name could be one of the public DNS: letters,
// digits and hyphens (other scripts as xn--…), at least two labels, and the
// last one with a letter that makes it no number, because resolvers of the
// operating system read 127.1, 0x7f.1 and 2130706433 as addresses.
func PublicName(name string) bool {
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	if len(name) > 253 || len(labels) < 2 || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return false
	}
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' ||
			strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return !slices.ContainsFunc(local, func(end string) bool {
		return name == end || strings.HasSuffix(name, "."+end)
	})
}
