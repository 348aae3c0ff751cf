// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJudge(t *testing.T) {
	for address, want := range map[string]Reason{
		"93.184.216.34":        "",
		"1.1.1.1":              "",
		"172.15.255.255":       "",
		"172.32.0.0":           "",
		"100.63.255.255":       "",
		"100.128.0.0":          "",
		"223.255.255.255":      "",
		"2606:4700::1111":      "",
		"2a00:1450:4001::200e": "",
		"64:ff9b::1.1.1.1":     "", // what DNS64 makes of 1.1.1.1
		"::ffff:1.1.1.1":       "",

		"127.0.0.1":                         Loopback,
		"127.255.255.254":                   Loopback,
		"::1":                               Loopback,
		"::ffff:127.0.0.1":                  Loopback,
		"64:ff9b::127.0.0.1":                Loopback,
		"10.0.0.1":                          Private,
		"172.16.0.1":                        Private,
		"172.31.255.255":                    Private,
		"192.168.255.255":                   Private,
		"::ffff:10.0.0.1":                   Private,
		"64:ff9b::10.0.0.1":                 Private,
		"fc00::1":                           Private,
		"fd00:ec2::254":                     Private, // metadata of AWS
		"fec0::1":                           Private,
		"2a00:1450:4001::5efe:192.168.1.1":  Private, // ISATAP
		"2a00:1450:4001:0:200:5efe:a00:1":   Private,
		"100.64.0.1":                        SharedSpace,
		"100.100.100.200":                   SharedSpace, // metadata of Alibaba
		"100.127.255.255":                   SharedSpace,
		"169.254.169.254":                   LinkLocal, // metadata of most clouds
		"::ffff:169.254.169.254":            LinkLocal,
		"64:ff9b::a9fe:a9fe":                LinkLocal,
		"fe80::1":                           LinkLocal,
		"fe80::1%eth0":                      LinkLocal,
		"febf::1":                           LinkLocal,
		"224.0.0.1":                         Multicast,
		"239.255.255.255":                   Multicast,
		"ff02::1":                           Multicast,
		"0.0.0.0":                           Unspecified,
		"0.1.2.3":                           Unspecified,
		"::":                                Unspecified,
		"192.0.2.1":                         Documentation,
		"198.51.100.7":                      Documentation,
		"203.0.113.255":                     Documentation,
		"2001:db8::1":                       Documentation,
		"3fff:fff::1":                       Documentation,
		"198.18.0.1":                        Benchmark,
		"198.19.255.255":                    Benchmark,
		"2001:2::1":                         Benchmark,
		"::127.0.0.1":                       Tunnel, // IPv4-compatible
		"::1.1.1.1":                         Tunnel,
		"::ffff:0:10.0.0.1":                 Tunnel, // IPv4-translated
		"64:ff9b:1::10.0.0.1":               Tunnel, // NAT64 in a network of one's own
		"2002:7f00:1::":                     Tunnel, // 6to4
		"2002:c0a8:101::1":                  Tunnel,
		"2001::1":                           Tunnel, // Teredo
		"2001:0:4136:e378:8000:63bf:f5ff:0": Tunnel,
		"192.88.99.1":                       Tunnel,
		"192.0.0.1":                         Reserved,
		"192.0.0.192":                       Reserved, // metadata of Oracle
		"240.0.0.1":                         Reserved,
		"255.255.255.255":                   Reserved,
		"168.63.129.16":                     Reserved,
		"2001:10::1":                        Reserved,
		"2001:1ff::1":                       Reserved,
		"100::1":                            Reserved,
		"4000::1":                           Reserved,
		"5f00::1":                           Reserved,
		"fe00::1":                           Reserved,
	} {
		require.Equal(t, want, judge(netip.MustParseAddr(address)), address)
	}
	require.Equal(t, Reserved, judge(netip.Addr{}))
}

// Whatever the standard library knows to be no address in the Internet is
// refused, in all forms that hold an IPv4 address.
func FuzzJudge(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "10.1.2.3", "::1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1"} {
		f.Add(netip.MustParseAddr(s).AsSlice())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		inside := func(a netip.Addr) bool { return !a.IsGlobalUnicast() || a.IsPrivate() }
		if inside(addr.Unmap()) {
			require.NotEmpty(t, judge(addr), addr)
		}
		if addr.Is4() && inside(addr) {
			v4 := addr.As4()
			for _, prefix := range []string{"::", "::ffff:0:0", "64:ff9b::", "::ffff:0:0:0", "64:ff9b:1::", "2606:4700::5efe:0:0"} {
				v6 := netip.MustParseAddr(prefix).As16()
				copy(v6[12:], v4[:])
				require.NotEmpty(t, judge(netip.AddrFrom16(v6)), "%s in %s", addr, prefix)
			}
		}
	})
}
