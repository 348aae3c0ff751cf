// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/dovecotpush/caddy-dovecot-push/internal/network"
)

// scanned is the length up to which a linear search is faster than looking up a
// cached table.
const scanned = 16

// source caches a lookup table for one of Guard.Sources. It is used only if the
// source returns the very same list again.
type source struct {
	last atomic.Pointer[list]
}

// list is a list that a source returned.
type list struct {
	prefixes []netip.Prefix // keeps the memory in use, so that no other list can have its address
	networks func() *Networks
}

// contains reports whether one of prefixes, which the source just returned,
// contains addr, which comes from unmapAddr.
//
// A long list gets its table when it is returned the second time in a row. A
// source that builds a new slice for each request, such as one that joins
// others, therefore costs a linear search each time, and not the much slower
// building of a table that is used once.
func (s *source) contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	if len(prefixes) <= scanned {
		return scan(prefixes, addr)
	}
	last := s.last.Load()
	if last == nil || !last.is(prefixes) {
		s.last.Store(&list{
			prefixes: prefixes,
			networks: sync.OnceValue(func() *Networks { return NetworksOf(prefixes) }),
		})
		return scan(prefixes, addr)
	}
	return last.networks().Contains(addr)
}

// is reports whether prefixes, which must not be empty, are this list.
func (l *list) is(prefixes []netip.Prefix) bool {
	return len(l.prefixes) == len(prefixes) && &l.prefixes[0] == &prefixes[0]
}

func scan(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, prefix := range prefixes {
		if network.Unmap(prefix).Contains(addr) {
			return true
		}
	}
	return false
}
