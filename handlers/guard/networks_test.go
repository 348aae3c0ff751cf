// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
)

func TestParseNetworks(t *testing.T) {
	t.Parallel()
	for entry, test := range map[string]struct{ in, out []string }{
		"10.0.0.7":                 {[]string{"10.0.0.7", "::ffff:10.0.0.7", "::ffff:10.0.0.7%eth0"}, []string{"10.0.0.6", "10.0.0.8", "::10.0.0.7", "::a00:7"}},
		"2001:db8::7":              {[]string{"2001:db8::7", "2001:db8::7%eth0"}, []string{"2001:db8::8", "10.0.0.7"}},
		"::1":                      {[]string{"::1", "::1%lo"}, []string{"::2", "127.0.0.1", "0.0.0.1"}},
		"10.0.0.0/8":               {[]string{"10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"}, []string{"9.255.255.255", "11.0.0.0"}},
		"10.1.2.3/8":               {[]string{"10.0.0.0", "10.255.255.255"}, []string{"11.0.0.0"}},
		"10.0.0.4/30":              {[]string{"10.0.0.4", "10.0.0.7"}, []string{"10.0.0.3", "10.0.0.8"}},
		"10.0.0.7/32":              {[]string{"10.0.0.7"}, []string{"10.0.0.6"}},
		"2001:db8::/32":            {[]string{"2001:db8:ffff::1", "2001:db8::%eth0"}, []string{"2001:db9::"}},
		"2001:db8:1:2:3::/33":      {[]string{"2001:db8:7fff::1"}, []string{"2001:db8:8000::"}},
		"fe80::/10":                {[]string{"fe80::1%eth0", "fe80::1", "febf::"}, []string{"fec0::"}},
		"0.0.0.0/0":                {[]string{"1.2.3.4", "255.255.255.255", "::ffff:1.2.3.4"}, []string{"::1", "2001:db8::7"}},
		"::/0":                     {[]string{"::1", "2001:db8::7", "fe80::1%eth0"}, []string{"1.2.3.4", "::ffff:1.2.3.4"}},
		"0.0.0.0":                  {[]string{"0.0.0.0"}, []string{"1.2.3.4"}},
		"::":                       {[]string{"::"}, []string{"::1"}},
		"192.168.0.":               {[]string{"192.168.0.0", "192.168.0.255"}, []string{"192.168.1.0", "192.167.255.255"}},
		"192.168.0":                {[]string{"192.168.0.0", "192.168.0.255"}, []string{"192.168.1.0"}},
		"10.1.":                    {[]string{"10.1.0.0", "10.1.255.255"}, []string{"10.2.0.0", "10.0.255.255"}},
		"10.1":                     {[]string{"10.1.0.0", "10.1.255.255"}, []string{"10.0.0.1", "10.2.0.0"}},
		"10.":                      {[]string{"10.0.0.0", "10.255.255.255"}, []string{"11.0.0.0"}},
		"10":                       {[]string{"10.0.0.0", "10.255.255.255"}, []string{"0.0.0.10", "11.0.0.0"}},
		"0":                        {[]string{"0.0.0.1"}, []string{"1.0.0.0"}},
		"255.255.255":              {[]string{"255.255.255.255"}, []string{"255.255.254.255"}},
		"10.1.0.0/255.255.0.0":     {[]string{"10.1.0.0", "10.1.255.255"}, []string{"10.2.0.0"}},
		"10.1.2.3/255.255.0.0":     {[]string{"10.1.0.0", "10.1.255.255"}, []string{"10.2.0.0"}},
		"10.1.2.3/255.255.255.255": {[]string{"10.1.2.3"}, []string{"10.1.2.2"}},
		"10.1.2.0/255.255.255.254": {[]string{"10.1.2.0", "10.1.2.1"}, []string{"10.1.2.2"}},
		"0.0.0.0/0.0.0.0":          {[]string{"1.2.3.4"}, []string{"::1"}},
		"128.0.0.0/128.0.0.0":      {[]string{"200.1.2.3"}, []string{"127.0.0.1"}},
		"::ffff:10.0.0.0/104":      {[]string{"10.1.2.3", "::ffff:10.1.2.3"}, []string{"11.0.0.0", "::a01:203"}},
		"::ffff:10.1.2.3/104":      {[]string{"10.255.0.0"}, []string{"11.0.0.0"}},
		"::ffff:10.0.0.7":          {[]string{"10.0.0.7"}, []string{"10.0.0.8"}},
		"::ffff:a00:7":             {[]string{"10.0.0.7"}, []string{"10.0.0.8"}},
		"::ffff:0.0.0.0/96":        {[]string{"1.2.3.4"}, []string{"::1", "::fffe:1.2.3.4"}},
		"private_ranges": {
			[]string{"192.168.255.255", "172.16.0.0", "172.31.255.255", "10.9.8.7", "127.255.0.1", "fdff::1", "::1"},
			[]string{"192.169.0.0", "172.15.255.255", "172.32.0.0", "11.0.0.0", "128.0.0.0", "fc00::1", "fe80::1", "::2", "169.254.0.1", "100.64.0.1"},
		},
	} {
		networks, err := guard.ParseNetworks([]string{entry})
		require.NoError(t, err, entry)
		for _, addr := range test.in {
			require.Truef(t, networks.Contains(netip.MustParseAddr(addr)), "%s in %s", addr, entry)
		}
		for _, addr := range test.out {
			require.Falsef(t, networks.Contains(netip.MustParseAddr(addr)), "%s not in %s", addr, entry)
		}
		require.False(t, networks.Contains(netip.Addr{}), entry)
	}
}

func TestParseNetworksErrors(t *testing.T) {
	t.Parallel()
	for entry, reason := range map[string]string{
		"":                          "not an address",
		" ":                         "not an address",
		" 10.0.0.7":                 "not an address",
		"10.0.0.7,10.0.0.8":         "not an address",
		"10.0.0.7 10.0.0.8":         "not an address",
		".":                         "not an address",
		"10..":                      "not an address",
		".10":                       "not an address",
		"10..1":                     "not an address",
		"10.1..":                    "not an address",
		"10.0.0.7.":                 "not an address",
		"1.2.3.4.5":                 "not an address",
		"256":                       "not an address",
		"10.256":                    "not an address",
		"167772167":                 "not an address",
		"010.1":                     "not an address",
		"10.01.":                    "not an address",
		"10.0.0.010":                "not an address",
		"+10":                       "not an address",
		"-1":                        "not an address",
		"10.0.0.7:80":               "not an address",
		"[::1]":                     "not an address",
		"[::1]:80":                  "not an address",
		"2001:db8:":                 "not an address",
		"10.0.0.1-10.0.0.9":         "not an address",
		"*":                         "not an address",
		"!10.0.0.7":                 "not an address",
		"0x0a.1":                    "names are not resolved",
		"10.0.0.x":                  "names are not resolved",
		"10.*":                      "not an address",
		"all":                       "0.0.0.0/0 ::/0",
		"All":                       "0.0.0.0/0 ::/0",
		"localhost":                 "names are not resolved",
		"imap.example.com":          "names are not resolved",
		".example.com":              "names are not resolved",
		"imap.example.com/24":       "names are not resolved",
		"env=allowed":               "names are not resolved",
		"private_range":             "names are not resolved",
		"{env.ALLOW}":               "names are not resolved",
		"fe80::1%eth0":              "zones are ignored",
		"fe80::%eth0/64":            "no zone",
		"::ffff:10.0.0.7%eth0":      "zones are ignored",
		"10.0.0.0/33":               "from 0 to 32",
		"10.0.0.0/-1":               "from 0 to 32",
		"10.0.0.0/+8":               "from 0 to 32",
		"10.0.0.0/08":               "from 0 to 32",
		"10.0.0.0/":                 "from 0 to 32",
		"10.0.0.0/8/8":              "from 0 to 32",
		"10.0.0.0/ 8":               "from 0 to 32",
		"10.0.0.0/x":                "from 0 to 32",
		"10.0.0.0/255.0.0":          "from 0 to 32",
		"2001:db8::/129":            "from 0 to 128",
		"10.1/16":                   "complete address",
		"10.1./16":                  "complete address",
		"10/255.0.0.0":              "complete address",
		"/8":                        "complete address",
		"/":                         "complete address",
		"10.0.0.0/255.0.255.0":      "holes",
		"10.0.0.0/0.0.0.255":        "holes",
		"10.0.0.0/255.255.255.1":    "holes",
		"10.0.0.0/127.255.255.255":  "holes",
		"10.0.0.0/::":               "with IPv4 only",
		"2001:db8::/255.255.0.0":    "with IPv4 only",
		"::ffff:10.0.0.0/255.0.0.0": "with IPv4 only",
		"2001:db8::/ffff::":         "with IPv4 only",
		"::ffff:10.0.0.0/95":        "at least 96 bits",
		"::ffff:10.0.0.0/0":         "at least 96 bits",
		"10.0.0.7/0":                "everybody",
		"10.0.0.7/0.0.0.0":          "everybody",
		"2001:db8::/0":              "everybody",
		"::ffff:10.0.0.0/96":        "everybody",
	} {
		_, err := guard.ParseNetworks([]string{"10.0.0.0/8", entry, "nonsense"})
		require.ErrorContains(t, err, reason, entry)
		require.ErrorContains(t, err, "private_ranges", entry)
		require.NotContains(t, err.Error(), "nonsense", "it names the first one")
		if entry != "" {
			require.ErrorContains(t, err, entry)
		}
	}
}

func TestNetworksOfNobody(t *testing.T) {
	t.Parallel()
	empty, err := guard.ParseNetworks(nil)
	require.NoError(t, err)
	for _, networks := range []*guard.Networks{nil, {}, empty, guard.NetworksOf(nil), guard.NetworksOf([]netip.Prefix{{}})} {
		require.Zero(t, networks.Len())
		for _, addr := range []string{"0.0.0.0", "127.0.0.1", "::", "::1", "::ffff:0.0.0.0"} {
			require.False(t, networks.Contains(netip.MustParseAddr(addr)))
		}
		require.False(t, networks.Contains(netip.Addr{}))
	}
}

func TestNetworksLen(t *testing.T) {
	t.Parallel()
	networks, err := guard.ParseNetworks([]string{"10.0.0.0/8", "10.1.2.3/8", "::ffff:10.0.0.0/104", "10.", "10.1.", "private_ranges", "2001:db8::/32"})
	require.NoError(t, err)
	require.Equal(t, 8, networks.Len()) // 10/8 four times, 10.1/16, five more private ones, 2001:db8::/32
}

func TestNetworksOfMappedPrefixes(t *testing.T) {
	t.Parallel()
	networks := guard.NetworksOf([]netip.Prefix{netip.MustParsePrefix("::ffff:192.0.2.99/120")})
	require.True(t, networks.Contains(netip.MustParseAddr("192.0.2.1")))
	require.False(t, networks.Contains(netip.MustParseAddr("192.0.3.1")))

	// Of this one IPv4 is a part, but it is not one of IPv4 networks.
	networks = guard.NetworksOf([]netip.Prefix{netip.MustParsePrefix("::ffff:0.0.0.0/90")})
	require.True(t, networks.Contains(netip.MustParseAddr("::ffd0:1:2")))
	require.False(t, networks.Contains(netip.MustParseAddr("192.0.2.1")))
	require.False(t, networks.Contains(netip.MustParseAddr("::ffff:192.0.2.1")))
}

// A table says the same as a look at each prefix.
func TestNetworksContainLikePrefixes(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(4291, 1918))
	prefixes := randomPrefixes(random, 300)
	networks := guard.NetworksOf(prefixes)
	found := 0
	for range 20_000 {
		addr := randomAddr(random)
		if random.IntN(2) == 0 { // near one of them
			prefix := prefixes[random.IntN(len(prefixes))]
			addr = prefix.Addr()
			if random.IntN(3) == 0 {
				addr = addr.Next()
			}
		}
		want := false
		for _, prefix := range prefixes {
			if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
				prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
			}
			want = want || prefix.Contains(addr.Unmap())
		}
		if want {
			found++
		}
		require.Equal(t, want, networks.Contains(addr), addr)
		if addr.Is6() {
			require.Equal(t, want, networks.Contains(addr.WithZone("eth0")), addr)
		}
		if addr.Is4() {
			require.Equal(t, want, networks.Contains(netip.AddrFrom16(addr.As16())), addr)
		}
	}
	require.Greater(t, found, 1000)
}

func randomAddr(random *rand.Rand) netip.Addr {
	var b [16]byte
	for i := range b {
		b[i] = byte(random.IntN(4)) // close together, so that networks overlap
	}
	switch random.IntN(3) {
	case 0:
		return netip.AddrFrom16(b)
	case 1:
		return netip.AddrFrom16(netip.AddrFrom4([4]byte(b[:4])).As16())
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}

func randomPrefixes(random *rand.Rand, n int) []netip.Prefix {
	prefixes := make([]netip.Prefix, n)
	for i := range prefixes {
		addr := randomAddr(random)
		prefixes[i] = netip.PrefixFrom(addr, addr.BitLen()-random.IntN(16))
	}
	return prefixes
}

func TestContainsAllocations(t *testing.T) {
	networks, err := guard.ParseNetworks([]string{"private_ranges", "2001:db8::/32", "192.0.2.7"})
	require.NoError(t, err)
	for _, s := range []string{"192.0.2.7", "::ffff:192.0.2.7", "198.51.100.1", "2001:db8::1", "fd00::1%eth0", "fe80::1%eth0"} {
		addr := netip.MustParseAddr(s)
		require.Zero(t, testing.AllocsPerRun(100, func() { networks.Contains(addr) }), s)
	}
}
