// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package outbound

import "net/netip"

// network is a range that no address of a user may lie in.
type network struct {
	prefix netip.Prefix
	reason Reason
}

// forbidden are the ranges of IANA's special-purpose address registries
// (RFC 6890 and its successors) that do not lead to a server in the Internet.
// The first that fits gives the reason. IPv6 is turned around: what is not
// global unicast (2000::/3) is refused whatever it is.
var forbidden = func() (all []network) {
	for _, r := range []struct {
		reason   Reason
		prefixes []string
	}{
		{Loopback, []string{"127.0.0.0/8", "::1/128"}},
		{Private, []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"}},
		{SharedSpace, []string{"100.64.0.0/10"}},
		{LinkLocal, []string{"169.254.0.0/16", "fe80::/10"}},
		{Multicast, []string{"224.0.0.0/4", "ff00::/8"}},
		{Unspecified, []string{"0.0.0.0/8", "::/128"}},
		{Documentation, []string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"}},
		{Benchmark, []string{"198.18.0.0/15", "2001:2::/48"}},
		// Tunnels and translations: whatever IPv4 address is inside, no
		// server is reached only this way. NAT64's own prefix is the
		// exception, see embedded.
		{Tunnel, []string{
			"::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", "192.88.99.0/24",
		}},
		{Reserved, []string{
			"192.0.0.0/24", "240.0.0.0/4", "2001::/23",
			"168.63.129.16/32", // the host of a virtual machine at Azure, which trusts its guests
		}},
	} {
		for _, p := range r.prefixes {
			all = append(all, network{netip.MustParsePrefix(p), r.reason})
		}
	}
	return all
}()

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	nat64         = netip.MustParsePrefix("64:ff9b::/96")
)

// judge returns why addr must not be connected to, or "" if it may.
func judge(addr netip.Addr) Reason {
	addr = addr.WithZone("").Unmap()
	for _, n := range forbidden {
		if n.prefix.Contains(addr) {
			return n.reason
		}
	}
	if inside, ok := embedded(addr); ok {
		return judge(inside)
	}
	if !addr.IsValid() || addr.Is6() && !globalUnicast.Contains(addr) {
		return Reserved
	}
	return ""
}

// embedded returns the IPv4 address that a packet to addr ends at: behind
// NAT64 (RFC 6052), which every name resolves to in a network with IPv6 only,
// and with ISATAP (RFC 5214).
func embedded(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	isatap := (b[8] == 0 || b[8] == 2) && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
	if !isatap && !nat64.Contains(addr) {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b[12:])), true
}
