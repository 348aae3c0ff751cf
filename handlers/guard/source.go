// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// scanned is the length up to which going through a list takes less time than
// remembering it would be worth.
const scanned = 16

// source makes lookups in the lists of one of Guard.Sources fast. Which list a
// request is judged by is the source's choice alone: what is remembered is only
// another form of a list, used if the source returns this very list again.
type source struct {
	last atomic.Pointer[list]
}

// list is a list that a source returned.
type list struct {
	prefixes []netip.Prefix // holds on to the memory, so that no other list can be at its place
	networks func() *Networks
}

// contains says whether one of prefixes, which the source just returned, holds
// addr, which comes from unmapAddr.
//
// A long list gets its table when it comes the second time in a row. So a
// source that puts together a new slice for each request, as one that joins
// several others does, costs a walk through its list each time, and not the
// many times longer making of a table that nobody would use again.
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

// is says whether prefixes, which are not empty, are this list.
func (l *list) is(prefixes []netip.Prefix) bool {
	return len(l.prefixes) == len(prefixes) && &l.prefixes[0] == &prefixes[0]
}

func scan(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, prefix := range prefixes {
		if unmapPrefix(prefix).Contains(addr) {
			return true
		}
	}
	return false
}
