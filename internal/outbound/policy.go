// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package outbound makes HTTPS requests to addresses that users choose, such as
// the endpoints of Web Push. It prevents users from making this server connect
// to machines that only it can reach.
//
// The [http.Client] of a [Policy]
//
//   - accepts only https, port 443, and host names or addresses on the
//     Internet;
//   - checks the address when the connection is made, after DNS, so that a name
//     that resolves to another address a moment later does not help;
//   - follows no redirects, keeps no cookies and uses only a configured proxy.
//
// [Policy.Check] refuses early, with a reason. It does not use DNS: everything
// else is refused when the connection is made.
package outbound

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Policy is the rule which addresses may be connected to. It is safe for
// concurrent use.
type Policy struct {
	networks []netip.Prefix
	// origins are scheme://host:port. hosts are their host:port.
	origins, hosts map[string]bool
	port           string
}

// NewPolicy makes a policy. Each exception is one of
//
//	10.1.0.0/16                  addresses in this network may be connected to
//	10.1.2.3                     this address
//	push.internal.example        this host, whatever it resolves to
//	push.internal.example:8443   on this port
//	http://10.1.2.3:8080         without TLS
//
// An exception from the address is none from https or from port 443, unless
// it says so.
func NewPolicy(exceptions ...string) (*Policy, error) {
	p := &Policy{origins: make(map[string]bool), hosts: make(map[string]bool), port: "443"}
	for _, e := range exceptions {
		if err := p.except(e); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *Policy) except(exception string) error {
	if network, err := netip.ParsePrefix(exception); err == nil {
		p.networks = append(p.networks, network.Masked())
		return nil
	}
	if addr, err := netip.ParseAddr(exception); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		p.networks = append(p.networks, netip.PrefixFrom(addr, addr.BitLen()))
		return nil
	}
	origin := exception
	if !strings.Contains(origin, "://") {
		origin = "https://" + origin
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || !plain(origin) {
		shown := exception[strings.LastIndexByte(exception, '@')+1:] // without a password
		return fmt.Errorf("%q is not a network, an address, a host, host:port or http(s)://host:port", shown)
	}
	host := hostPort(u)
	p.origins[u.Scheme+"://"+host] = true
	p.hosts[host] = true
	return nil
}

// hostPort returns the host in lower case and the port, which the scheme
// gives if the URL does not.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "http":
		port = "80"
	default:
		port = "443"
	}
	return strings.ToLower(net.JoinHostPort(u.Hostname(), port))
}

// address judges what a connection is about to be made to.
func (p *Policy) address(addr netip.Addr) error {
	for _, n := range p.networks {
		if n.Contains(addr.WithZone("").Unmap()) {
			return nil
		}
	}
	if r := judge(addr); r != "" {
		return refuse(r)
	}
	return nil
}
