// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
)

func from(remoteAddr string) *http.Request {
	return &http.Request{RemoteAddr: remoteAddr}
}

func networks(t testing.TB, entries ...string) *guard.Networks {
	t.Helper()
	n, err := guard.ParseNetworks(entries)
	require.NoError(t, err)
	return n
}

func TestJudge(t *testing.T) {
	t.Parallel()
	g := &guard.Guard{Allow: networks(t, "192.168.0.", "2001:db8::/32", "fe80::/10")}
	for remoteAddr, want := range map[string]guard.Verdict{
		"192.168.0.7:4711":             guard.Allowed,
		"[::ffff:192.168.0.7]:4711":    guard.Allowed,
		"[2001:db8::7]:4711":           guard.Allowed,
		"[fe80::1%eth0]:4711":          guard.Allowed,
		"192.168.1.7:4711":             guard.Forbidden,
		"[::ffff:192.168.1.7]:4711":    guard.Forbidden,
		"[::192.168.0.7]:4711":         guard.Forbidden,
		"[2001:db9::7]:4711":           guard.Forbidden,
		"":                             guard.Forbidden,
		"@":                            guard.Forbidden,
		"/run/caddy.sock":              guard.Forbidden,
		"pipe":                         guard.Forbidden,
		"192.168.0.7":                  guard.Forbidden,
		"192.168.0.7:":                 guard.Forbidden,
		"192.168.0.7:port":             guard.Forbidden,
		"192.168.0.7:65536":            guard.Forbidden,
		"[192.168.0.7]:4711":           guard.Forbidden,
		"2001:db8::7:4711":             guard.Forbidden,
		"2001:db8::7":                  guard.Forbidden,
		"192.168.0.7:4711, 10.0.0.1:1": guard.Forbidden,
		" 192.168.0.7:4711":            guard.Forbidden,
		"imap.example.com:4711":        guard.Forbidden,
	} {
		require.Equal(t, want, g.Judge(from(remoteAddr)), remoteAddr)
	}
}

func TestJudgeRefusesByDefault(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]*guard.Guard{
		"nil": nil, "zero": {}, "empty": {Allow: &guard.Networks{}},
		"no sources":        {Sources: []func(*http.Request) []netip.Prefix{}},
		"sources of nobody": {Sources: []func(*http.Request) []netip.Prefix{func(*http.Request) []netip.Prefix { return nil }}},
	} {
		for _, remoteAddr := range []string{"127.0.0.1:1", "[::1]:1", "0.0.0.0:0", "[::]:0", "@", ""} {
			require.Equal(t, guard.Forbidden, g.Judge(from(remoteAddr)), name)
		}
	}
}

func TestJudgeEarlyData(t *testing.T) {
	t.Parallel()
	g := &guard.Guard{Allow: networks(t, "192.168.0.")}
	for _, remoteAddr := range []string{"192.168.0.7:4711", "192.0.2.7:4711", "@"} {
		r := from(remoteAddr)
		r.TLS = &tls.ConnectionState{}
		require.Equal(t, guard.TooEarly, g.Judge(r), remoteAddr)
	}
	r := from("192.168.0.7:4711")
	r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	require.Equal(t, guard.Allowed, g.Judge(r))
	r.RemoteAddr = "192.0.2.7:4711"
	require.Equal(t, guard.Forbidden, g.Judge(r))
}

func TestJudgePeer(t *testing.T) {
	t.Parallel()
	peer, ok := netip.MustParseAddr("::ffff:192.168.0.7"), true
	g := &guard.Guard{
		Allow:   networks(t, "192.168.0.7", "fe80::1"),
		Sources: []func(*http.Request) []netip.Prefix{func(*http.Request) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("fe80::2/128")} }},
		Peer:    func(*http.Request) (netip.Addr, bool) { return peer, ok },
	}
	require.Equal(t, guard.Allowed, g.Judge(from("192.0.2.7:4711")))
	peer = netip.MustParseAddr("fe80::1%eth0")
	require.Equal(t, guard.Allowed, g.Judge(from("192.0.2.7:4711")))
	peer = netip.MustParseAddr("fe80::2%eth0")
	require.Equal(t, guard.Allowed, g.Judge(from("192.0.2.7:4711")))
	ok = false
	require.Equal(t, guard.Forbidden, g.Judge(from("192.168.0.7:4711")), "no address, whatever comes with it")
	peer, ok = netip.Addr{}, true
	require.Equal(t, guard.Forbidden, g.Judge(from("192.168.0.7:4711")))
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	var zero guard.Verdict
	require.Equal(t, guard.Forbidden, zero)
	for verdict, want := range map[guard.Verdict]struct {
		word   string
		status int
	}{
		guard.Allowed: {"allowed", 0}, guard.Forbidden: {"forbidden", 403}, guard.TooEarly: {"too_early", 425}, 200: {"forbidden", 403},
	} {
		require.Equal(t, want.word, verdict.String())
		require.Equal(t, want.status, verdict.Status())
	}
}

// What a source returns counts from the next request on, however long it is
// and however it changes.
func TestJudgeSourcesThatChange(t *testing.T) {
	t.Parallel()
	filler := func(n int) []netip.Prefix {
		var prefixes []netip.Prefix
		for i := range n {
			prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), 32))
		}
		return prefixes
	}
	one, two := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("::ffff:192.0.2.2/128")
	for _, n := range []int{0, 1, 15, 16, 17, 100, 5000} {
		var list []netip.Prefix
		asked := 0
		g := &guard.Guard{
			Allow: networks(t, "192.0.2.9"),
			Sources: []func(*http.Request) []netip.Prefix{
				func(*http.Request) []netip.Prefix { return filler(3) },
				func(*http.Request) []netip.Prefix { asked++; return list },
			},
		}
		expect := func(first, second guard.Verdict) {
			t.Helper()
			for range 3 { // a long list is looked up in another way the second time
				require.Equal(t, first, g.Judge(from("192.0.2.1:1")), n)
				require.Equal(t, second, g.Judge(from("[::ffff:192.0.2.2]:1")), n)
				require.Equal(t, guard.Allowed, g.Judge(from("192.0.2.9:1")), n)
			}
		}
		expect(guard.Forbidden, guard.Forbidden)
		list = append(filler(n), one)
		expect(guard.Allowed, guard.Forbidden)
		list = append(filler(n), two) // same length, other place
		expect(guard.Forbidden, guard.Allowed)
		longer := slices.Concat(list, []netip.Prefix{one})
		list = longer
		expect(guard.Allowed, guard.Allowed)
		list = longer[:n+1] // same place, other length
		expect(guard.Forbidden, guard.Allowed)
		list = longer[1:]
		expect(guard.Allowed, map[bool]guard.Verdict{true: guard.Allowed, false: guard.Forbidden}[n > 0])
		list = nil
		expect(guard.Forbidden, guard.Forbidden)
		require.Equal(t, 7*6, asked, "asked on each request that is not allowed before")
	}
}

func TestJudgeSourceWithANewListEachTime(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	in := netip.MustParsePrefix("192.0.2.1/32")
	g := &guard.Guard{Sources: []func(*http.Request) []netip.Prefix{func(*http.Request) []netip.Prefix {
		prefixes := randomPrefixes(random, 64)
		prefixes[random.IntN(64)] = in
		return prefixes
	}}}
	for range 1000 {
		require.Equal(t, guard.Allowed, g.Judge(from("192.0.2.1:1")))
		require.Equal(t, guard.Forbidden, g.Judge(from("198.51.100.1:1")))
	}
}

// Sources, and even the first request, are used by many at once.
func TestJudgeAtOnce(t *testing.T) {
	t.Parallel()
	lists := [2][]netip.Prefix{randomPrefixes(rand.New(rand.NewPCG(1, 2)), 500), randomPrefixes(rand.New(rand.NewPCG(3, 4)), 500)}
	for i := range lists {
		lists[i][400] = netip.MustParsePrefix("192.0.2.1/32")
	}
	g := &guard.Guard{Sources: []func(*http.Request) []netip.Prefix{
		func(*http.Request) []netip.Prefix { return nil },
		func(*http.Request) []netip.Prefix { return lists[rand.IntN(2)] },
	}}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 500 {
				if g.Judge(from("192.0.2.1:1")) != guard.Allowed || g.Judge(from("198.51.100.1:1")) != guard.Forbidden {
					t.Error("wrong verdict")
				}
			}
		})
	}
	all.Wait()
}

func TestJudgeAllocations(t *testing.T) {
	long := randomPrefixes(rand.New(rand.NewPCG(1, 2)), 1000)
	plain := &guard.Guard{Allow: networks(t, "192.168.0.", "2001:db8::/32")}
	sources := &guard.Guard{Sources: []func(*http.Request) []netip.Prefix{
		func(*http.Request) []netip.Prefix { return long[:8] },
		func(*http.Request) []netip.Prefix { return long },
	}}
	for _, remoteAddr := range []string{"192.168.0.7:4711", "192.0.2.7:4711", "[2001:db8::7]:4711", "[::ffff:192.168.0.7]:4711"} {
		r := from(remoteAddr)
		require.Zero(t, testing.AllocsPerRun(100, func() { plain.Judge(r) }), remoteAddr)
		sources.Judge(r) // the second time makes the table
		require.Zero(t, testing.AllocsPerRun(100, func() { sources.Judge(r) }), remoteAddr)
	}
}

// The peers of a Unix socket have no address: they are let in by name, and not
// where an address is asked for.
func TestUnixSocket(t *testing.T) {
	unix, err := guard.ParseNetworks([]string{"unix"})
	require.NoError(t, err)
	require.Equal(t, 1, unix.Len())
	everybody, err := guard.ParseNetworks([]string{"0.0.0.0/0", "::/0"})
	require.NoError(t, err)
	client := func(*http.Request) (netip.Addr, bool) { return netip.Addr{}, false }
	verdicts := make(chan []guard.Verdict, 1)
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		verdicts <- []guard.Verdict{
			(&guard.Guard{Allow: unix}).Judge(r), (&guard.Guard{Allow: everybody}).Judge(r),
			(&guard.Guard{Allow: unix, Peer: client}).Judge(r), (&guard.Guard{}).Judge(r),
		}
	})
	for network, want := range map[string][]guard.Verdict{
		"unix": {guard.Allowed, guard.Forbidden, guard.Forbidden, guard.Forbidden},
		"tcp":  {guard.Forbidden, guard.Allowed, guard.Forbidden, guard.Forbidden},
	} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(t.TempDir(), "socket")
		}
		listener, err := net.Listen(network, address)
		require.NoError(t, err)
		server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
		server.Start()
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial(network, listener.Addr().String())
		}}
		resp, err := (&http.Client{Transport: transport}).Get("http://x/")
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, want, <-verdicts, network)
		transport.CloseIdleConnections()
		server.Close()
	}
}
