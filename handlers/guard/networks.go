// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"net/netip"

	"github.com/gaissmai/bart"

	"github.com/dovecotpush/caddy-dovecot-push/internal/network"
)

// privateRanges are the networks that Caddy replaces private_ranges with.
var privateRanges = []netip.Prefix{
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.1/8"),
	netip.MustParsePrefix("fd00::/8"),
	netip.MustParsePrefix("::1/128"),
}

// Networks is an immutable set of networks (CIDR prefixes). It is safe for
// concurrent use. A lookup takes a few nanoseconds, for eight networks as for
// ten thousand.
//
// A nil *Networks and the zero value are empty.
type Networks struct {
	table bart.Lite
	unix  bool // the peers of Unix sockets
}

// ParseNetworks parses a list of networks. An entry is one of
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
// Bits of the address beyond the length of the network are ignored, as by
// Apache: 10.1.2.3/8 is 10.0.0.0/8. The length 0 is allowed with 0.0.0.0 and ::
// only: 10.1.2.3/0 was hardly meant to be everybody.
//
// Apache's "all" (write 0.0.0.0/0 ::/0), host and domain names, netmasks with
// holes, and addresses with a zone are errors. Names are refused because they
// would either be resolved once and become outdated, or be resolved on each
// request and put a name server in control. The error names the first invalid
// entry and the allowed forms.
//
// An empty list is not an error.
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
		prefix, err := network.Parse(entry)
		if err != nil {
			return nil, fmt.Errorf("%w; %s, private_ranges and unix", err, network.Forms)
		}
		networks.insert(prefix)
	}
	return networks, nil
}

// NetworksOf makes a set of parsed prefixes. Bits beyond the length of a prefix
// are ignored, and a prefix of IPv4-mapped IPv6 addresses is the IPv4 prefix.
// Invalid prefixes are ignored.
func NetworksOf(prefixes []netip.Prefix) *Networks {
	networks := new(Networks)
	networks.insert(prefixes...)
	return networks
}

func (n *Networks) insert(prefixes ...netip.Prefix) {
	for _, prefix := range prefixes {
		n.table.Insert(network.Unmap(prefix)) // masks; leaves out what is not valid
	}
}

// Contains reports whether one of the networks contains addr. An IPv4-mapped
// IPv6 address (::ffff:10.0.0.7) is the IPv4 address, and the zone of an
// address (fe80::1%eth0) is ignored. The zero Addr is in no network. Contains
// does not allocate.
func (n *Networks) Contains(addr netip.Addr) bool {
	return n != nil && n.table.Contains(unmapAddr(addr))
}

// Len returns the number of different networks. A network within another one
// counts, and so does unix.
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

// unmapAddr returns the form of addr that is looked up.
func unmapAddr(addr netip.Addr) netip.Addr {
	return addr.Unmap().WithZone("")
}
