// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package guard decides which peers may reach a path at all. It is what Apache
// has as
//
//	<Location /preliminary>
//	    Order Deny,Allow
//	    Deny from all
//	    Allow from 192.168.0.
//	</Location>
//
// [Paths] reports whether any server behind the guard could interpret the URL
// of a request as a guarded path. If so, [Guard.Judge] checks whether its peer
// is in one of the allowed [Networks], and returns a [Verdict] with the HTTP
// status to answer with. Nothing else of the request is read, and nothing is
// answered here.
//
//	if paths.Match(r.URL) {
//		if verdict := g.Judge(r); verdict != guard.Allowed {
//			http.Error(w, verdict.String(), verdict.Status())
//			return
//		}
//	}
//
// Paths must see the URL as it goes to the next handler: put the guard behind
// anything that rewrites paths, or before and behind it.
//
// Paths follow all interpretations of a path at once, as a finite automaton
// does (500 lines). A shorter rule was measured against it: an odd path is
// guarded if one of its decoded segments is a guarded one, wherever it stands.
// The rule misses 10 of the 183 disguises in the tests, because characters that
// may be kept, removed or the end of the path need the automaton as well. It
// also guards 26 of the 59 paths in the tests that no server takes for a
// guarded one, such as /caf%c3%a9/preliminary for /preliminary. Of 21,374
// paths of files with a blank or another odd character in them it guards 0 for
// /preliminary and /push, 11 for /doc and 347 for /share. The automaton guards
// none of them.
//
// Like everything below handlers, it makes no promise of stability before v1.
package guard

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// Guard knows the allowed peers. The zero value and nil allow nobody. It is
// safe for concurrent use. Its members must not change after the first call of
// Judge, and it must not be copied.
type Guard struct {
	// Allow holds the allowed peers.
	Allow *Networks

	// Sources return further allowed peers, in lists that may change at any
	// time. Each is called on each request until one of them contains the peer.
	// It must not block, and may return nothing. The contract is that of
	// Caddy's http.ip_sources, and a returned slice must not be written to
	// afterwards. To change a list, return another slice. Slices with the same
	// first element and the same length are taken for the same list.
	Sources []func(*http.Request) []netip.Prefix

	// Peer returns the address that the request comes from, or false if it has
	// none; such a request is refused. Nil means SocketPeer. An address that
	// the client can choose, such as an unchecked X-Forwarded-For, opens the
	// guard to everybody.
	Peer func(*http.Request) (netip.Addr, bool)

	once    sync.Once
	sources []source // cached tables, one for each of Sources
}

// Judge reports whether the peer of r is allowed.
func (g *Guard) Judge(r *http.Request) Verdict {
	if g == nil {
		return Forbidden
	}
	if r.TLS != nil && !r.TLS.HandshakeComplete {
		return TooEarly
	}
	peer := g.Peer
	if peer == nil {
		if g.Allow.Unix() && overUnixSocket(r) {
			return Allowed
		}
		peer = SocketPeer
	}
	addr, ok := peer(r)
	if ok && (g.Allow.Contains(addr) || g.inSources(r, unmapAddr(addr))) {
		return Allowed
	}
	return Forbidden
}

func (g *Guard) inSources(r *http.Request, addr netip.Addr) bool {
	if len(g.Sources) == 0 {
		return false
	}
	g.once.Do(func() { g.sources = make([]source, len(g.Sources)) })
	for i, list := range g.Sources {
		if g.sources[i].contains(list(r), addr) {
			return true
		}
	}
	return false
}

// SocketPeer returns the address of the other end of the connection, from
// r.RemoteAddr. There is none for a Unix socket, and for anything that is not
// address:port or [address]:port.
func SocketPeer(r *http.Request) (netip.Addr, bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return peer.Addr(), err == nil
}

// overUnixSocket reports whether the server got r at a Unix socket.
func overUnixSocket(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && local.Network() == "unix"
}
