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
// What comes in is a request. [Paths] tells whether it may lead to a guarded
// path by any reading that a server behind may have of its URL; if so,
// [Guard.Judge] tells whether its peer is in one of the [Networks] that are
// allowed. What goes out is a [Verdict] with the HTTP status to answer with.
// Nothing else of the request is read, and nothing is answered here.
//
//	if paths.Match(r.URL) {
//		if verdict := g.Judge(r); verdict != guard.Allowed {
//			http.Error(w, verdict.String(), verdict.Status())
//			return
//		}
//	}
//
// Paths must see the URL as it goes to the next handler: the guard stands behind
// what rewrites paths, or in front of it as well.
package guard

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// Guard knows the peers that are let in. The zero value and nil let nobody in.
// A Guard may be used by any number of goroutines at once. Its members must not
// change any more once Judge was called, and it must not be copied.
type Guard struct {
	// Allow holds the peers that are let in.
	Allow *Networks

	// Sources hold further ones, in lists that may change at any time: each is
	// asked on each request until one of them has the peer. It must answer at
	// once, and may answer with nothing. The contract is that of Caddy's
	// http.ip_sources, and one thing more, which holds for everybody who gives
	// a slice to several goroutines: what has been returned is not written to.
	// A list changes by returning another slice. The same first element and the
	// same length are taken as the same list.
	Sources []func(*http.Request) []netip.Prefix

	// Peer gives the address that the request comes from, and false if it has
	// none, which lets it not in. Nil is SocketPeer. An address that the client
	// can choose, as an unchecked X-Forwarded-For, opens the guard to everybody.
	Peer func(*http.Request) (netip.Addr, bool)

	once    sync.Once
	sources []source // what is remembered of each of Sources
}

// Judge says whether the peer of r is let in.
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

// SocketPeer gives the address of the other end of the connection, from
// r.RemoteAddr. There is none for a Unix socket and for anything that is not
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
