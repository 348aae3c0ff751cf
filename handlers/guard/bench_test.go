// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
)

var sizes = []int{8, 64, 1000, 10_000}

// spread are networks that have little in common, as a provider's list.
func spread(n int) []netip.Prefix {
	random := rand.New(rand.NewPCG(8, 64))
	prefixes := make([]netip.Prefix, n)
	for i := range prefixes {
		addr := netip.AddrFrom4([4]byte{byte(random.IntN(224)), byte(random.IntN(256)), byte(random.IntN(256)), byte(random.IntN(256))})
		prefixes[i] = netip.PrefixFrom(addr, 16+random.IntN(17)).Masked()
	}
	return prefixes
}

func BenchmarkContains(b *testing.B) {
	for _, n := range sizes {
		prefixes := spread(n)
		networks := guard.NetworksOf(prefixes)
		b.Run(fmt.Sprintf("in/%d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if !networks.Contains(prefixes[i%n].Addr()) {
					b.Fatal("not in it")
				}
			}
		})
		outside := netip.MustParseAddr("2001:db8::1")
		b.Run(fmt.Sprintf("out/%d", n), func(b *testing.B) {
			for b.Loop() {
				if networks.Contains(outside) {
					b.Fatal("in it")
				}
			}
		})
	}
}

func BenchmarkNetworksOf(b *testing.B) {
	for _, n := range sizes {
		prefixes := spread(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				guard.NetworksOf(prefixes)
			}
		})
	}
}

func BenchmarkJudge(b *testing.B) {
	r := &http.Request{RemoteAddr: "250.1.2.3:4711"}
	b.Run("allow", func(b *testing.B) {
		b.ReportAllocs()
		g := &guard.Guard{Allow: guard.NetworksOf(spread(8))}
		for b.Loop() {
			g.Judge(r)
		}
	})
	for _, n := range sizes {
		prefixes := spread(n)
		b.Run(fmt.Sprintf("source/same list/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			g := &guard.Guard{Sources: []func(*http.Request) []netip.Prefix{func(*http.Request) []netip.Prefix { return prefixes }}}
			for b.Loop() {
				g.Judge(r)
			}
		})
		// The slices alternate, which is new to the guard each time.
		lists := [2][]netip.Prefix{prefixes, spread(n)}
		b.Run(fmt.Sprintf("source/new list/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			g := &guard.Guard{Sources: []func(*http.Request) []netip.Prefix{func(*http.Request) []netip.Prefix { i++; return lists[i%2] }}}
			for b.Loop() {
				g.Judge(r)
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	paths, err := guard.NewPaths("/preliminary/*", "/push/*")
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range []string{"/", "/preliminary/http-notify/v1/notify", "/appsuite/api/mail/default0/INBOX", "/mail/a%20b", "/mail/Entw%c3%bcrfe/1", "/x/%252e%252e;/%70reliminary/x"} {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(strings.ReplaceAll(path[1:], "/", "|"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				paths.Match(u)
			}
		})
	}
}

// BenchmarkMatchHostile is what 8 KiB can cost at most.
func BenchmarkMatchHostile(b *testing.B) {
	paths, err := guard.NewPaths("/push/api/v1")
	if err != nil {
		b.Fatal(err)
	}
	const size = 16<<10 - 1
	for name, piece := range map[string]string{
		"slashes": "%2f", "dots": "x/%2e%2e/", "parameters": "/x;a%2f", "nested": "%25", "controls in escapes": "%%002%005%0000", "not UTF-8": "\xff", "overlong": "%c0%ae%2f", "all dialects": "\xc0\xae\xe2\x00\x80\x80ı", "many forms": "\ufdfa", "nearly": "/push/apj",
	} {
		u := &url.URL{Path: "/x/y" + strings.Repeat(piece, (size-4)/len(piece))}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				paths.Match(u)
			}
		})
	}
}
