// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package network reads networks (CIDR prefixes) in every form that Caddy and
// Apache have for them.
package network

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// Forms is how an error ends about what Parse does not understand.
const Forms = "allowed are an address (10.0.0.7, 2001:db8::7), a network (10.0.0.0/8, 10.0.0.0/255.0.0.0, 2001:db8::/32), " +
	"the beginning of IPv4 addresses (10.1.)"

// Parse reads a network or an address. Bits beyond the length of the network
// are ignored. A network of IPv4-mapped IPv6 addresses is that of the IPv4
// addresses. What means something other than it seems to is an error.
func Parse(text string) (netip.Prefix, error) {
	prefix, reason := read(text)
	if reason == "" {
		prefix, reason = check(prefix)
	}
	if reason != "" {
		return netip.Prefix{}, fmt.Errorf("network %q: %s", text, reason)
	}
	return prefix, nil
}

// read reads an entry in any of its forms. The reason says why it cannot be
// read.
func read(entry string) (prefix netip.Prefix, reason string) {
	if strings.EqualFold(entry, "all") {
		return prefix, "to allow everybody, write 0.0.0.0/0 ::/0"
	}
	if address, length, ok := strings.Cut(entry, "/"); ok {
		return readLength(address, length)
	}
	if addr, err := netip.ParseAddr(entry); err == nil {
		if addr.Zone() != "" {
			return prefix, "zones are ignored, so leave it out"
		}
		return netip.PrefixFrom(addr, addr.BitLen()), ""
	}
	if prefix, ok := readBeginning(entry); ok {
		return prefix, ""
	}
	if looksLikeName(entry) {
		return prefix, "names are not resolved, write the addresses"
	}
	return prefix, "this is not an address"
}

// readLength reads a network whose length is a number of bits or a netmask.
func readLength(address, length string) (prefix netip.Prefix, reason string) {
	addr, err := netip.ParseAddr(address)
	switch {
	case err != nil && looksLikeName(address):
		return prefix, "names are not resolved, write the addresses"
	case err != nil:
		return prefix, "a complete address must precede the slash"
	case addr.Zone() != "":
		return prefix, "a network has no zone"
	}
	mask, err := netip.ParseAddr(length)
	if err != nil {
		prefix, err = netip.ParsePrefix(address + "/" + length)
		if err != nil {
			return prefix, "the slash must be followed by a number of bits from 0 to " + strconv.Itoa(addr.BitLen())
		}
		return prefix, ""
	}
	if !addr.Is4() || !mask.Is4() {
		return prefix, "a netmask can be used with IPv4 only, write the number of bits"
	}
	b := mask.As4()
	m := binary.BigEndian.Uint32(b[:])
	ones := bits.LeadingZeros32(^m)
	if m<<ones != 0 {
		return prefix, "the netmask has holes"
	}
	return netip.PrefixFrom(addr, ones), ""
}

// readBeginning reads the first one to three bytes of an IPv4 address, with or
// without a dot at the end.
func readBeginning(entry string) (prefix netip.Prefix, ok bool) {
	parts := strings.Split(strings.TrimSuffix(entry, "."), ".")
	if len(parts) > 3 {
		return prefix, false
	}
	var address [4]byte
	for i, part := range parts {
		// 010 is 8 to some programs and 10 to others.
		b, err := strconv.ParseUint(part, 10, 8)
		if err != nil || strconv.FormatUint(b, 10) != part {
			return prefix, false
		}
		address[i] = byte(b)
	}
	return netip.PrefixFrom(netip.AddrFrom4(address), 8*len(parts)), true
}

// check refuses entries that mean something other than they seem to.
func check(prefix netip.Prefix) (_ netip.Prefix, reason string) {
	if prefix.Addr().Is4In6() && prefix.Bits() < mappedBits {
		return prefix, "a network of IPv4 addresses in this form has at least 96 bits"
	}
	prefix = Unmap(prefix)
	if prefix.Bits() == 0 && !prefix.Addr().IsUnspecified() {
		return prefix, "0 bits means everybody, which is written 0.0.0.0/0 or ::/0"
	}
	return prefix.Masked(), ""
}

// looksLikeName reports whether s has letters and is not an IPv6 address.
func looksLikeName(s string) bool {
	return !strings.Contains(s, ":") && strings.ContainsFunc(s, unicode.IsLetter)
}

// Unmap returns the IPv4 network of a network of IPv4-mapped IPv6 addresses,
// and any other as it is. One that is shorter than the 96 bits that they share
// stays an IPv6 network and contains no IPv4 address.
func Unmap(prefix netip.Prefix) netip.Prefix {
	if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= mappedBits {
		return netip.PrefixFrom(addr.Unmap(), prefix.Bits()-mappedBits)
	}
	return prefix
}

// mappedBits is the length of ::ffff:0:0/96.
const mappedBits = 96
