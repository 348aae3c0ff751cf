// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// Networks is a set of addresses, made of networks (CIDR prefixes). It does not
// change and may be used by any number of goroutines at once. A lookup takes
// the same few nanoseconds for eight networks as for ten thousand.
//
// A nil *Networks and the zero value hold nobody.
type Networks struct {
	table bart.Lite
	unix  bool // the peers of Unix sockets
}

// ParseNetworks reads a list of networks as an operator writes them. An entry
// is one of
//
//	10.0.0.7  2001:db8::7             one address
//	10.0.0.0/8  2001:db8::/32         a network (CIDR)
//	10.1.0.0/255.255.0.0              a network with its netmask, as Apache has it
//	10.1.  10.1  192.168.0.  10       the first one to three bytes of IPv4 addresses, as Apache has it
//	::ffff:10.0.0.0/104               the IPv4 network that is written so (RFC 4291 section 2.5.5.2)
//	private_ranges                    what Caddy understands by it: 192.168.0.0/16 172.16.0.0/12
//	                                  10.0.0.0/8 127.0.0.1/8 fd00::/8 ::1
//	unix                              the peers of Unix sockets, which have no address
//
// Bits of the address behind the length of the network do not count, as with
// Apache: 10.1.2.3/8 is 10.0.0.0/8. The length 0 is an exception, it goes with
// 0.0.0.0 and :: alone: 10.1.2.3/0 was hardly meant to be everybody.
//
// Refused are Apache's "all" (write 0.0.0.0/0 ::/0), host and domain names (they
// would be resolved once and then be wrong, or on each request and then be in
// the hand of a name server), netmasks with holes, and addresses with a zone.
// The error names the first such entry and the forms that are understood.
//
// An empty list is no error. It holds nobody.
func ParseNetworks(entries []string) (*Networks, error) {
	networks := new(Networks)
	for _, entry := range entries {
		switch entry {
		case "private_ranges":
			networks.insert(privateRanges...)
			continue
		case "unix":
			networks.unix = true
			continue
		}
		prefix, err := parseNetwork(entry)
		if err != nil {
			return nil, err
		}
		networks.insert(prefix)
	}
	return networks, nil
}

// NetworksOf makes a set of prefixes that are parsed already. Bits behind the
// length of a prefix do not count, and a prefix of IPv4 addresses in their IPv6
// form is their IPv4 prefix. An invalid prefix holds nobody.
func NetworksOf(prefixes []netip.Prefix) *Networks {
	networks := new(Networks)
	networks.insert(prefixes...)
	return networks
}

func (n *Networks) insert(prefixes ...netip.Prefix) {
	for _, prefix := range prefixes {
		n.table.Insert(unmapPrefix(prefix)) // masks; leaves out what is not valid
	}
}

// Contains says whether one of the networks holds addr. An IPv4 address in its
// IPv6 form (::ffff:10.0.0.7) is the IPv4 address, and the zone of an address
// (fe80::1%eth0) does not count. The zero Addr is in no network. It does not
// allocate.
func (n *Networks) Contains(addr netip.Addr) bool {
	return n != nil && n.table.Contains(unmapAddr(addr))
}

// Len is the number of different networks. One that lies within another counts,
// and so does unix.
func (n *Networks) Len() int {
	switch {
	case n == nil:
		return 0
	case n.unix:
		return n.table.Size() + 1
	default:
		return n.table.Size()
	}
}

// Unix reports whether the peers of Unix sockets are among them.
func (n *Networks) Unix() bool { return n != nil && n.unix }

// unmapAddr gives the form of addr that is looked up.
func unmapAddr(addr netip.Addr) netip.Addr {
	return addr.Unmap().WithZone("")
}

// unmapPrefix gives the form of prefix that addresses from unmapAddr are looked
// for in. A prefix that is shorter than the 96 bits that tell IPv4 addresses in
// their IPv6 form stays what it is: an IPv6 network, no IPv4 address is in it.
func unmapPrefix(prefix netip.Prefix) netip.Prefix {
	if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= mappedBits {
		return netip.PrefixFrom(addr.Unmap(), prefix.Bits()-mappedBits)
	}
	return prefix
}

// mappedBits is the length of ::ffff:0:0/96.
const mappedBits = 96
