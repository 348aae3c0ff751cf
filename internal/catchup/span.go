// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import "slices"

// span is UIDs from first to last, both included.
type span struct{ first, last uint32 }

// spans are disjoint, do not touch each other, and are sorted.
type spans []span

// add adds one UID.
func (s spans) add(uid uint32) spans {
	// i is the first span that does not end before uid.
	i, _ := slices.BinarySearchFunc(s, uid, func(x span, uid uint32) int {
		if x.last < uid {
			return -1
		}
		return 1
	})
	if i < len(s) && s[i].first <= uid {
		return s
	}
	before := i > 0 && s[i-1].last+1 == uid
	after := i < len(s) && s[i].first-1 == uid
	switch {
	case before && after:
		s[i-1].last = s[i].last
		return slices.Delete(s, i, i+1)
	case before:
		s[i-1].last = uid
		return s
	case after:
		s[i].first = uid
		return s
	default:
		return slices.Insert(s, i, span{uid, uid})
	}
}

// without returns the UIDs from first to last that are not in s.
func (s spans) without(first, last uint32) (rest spans) {
	for _, x := range s {
		if x.last < first {
			continue
		}
		if x.first > last {
			break
		}
		if x.first > first {
			rest = append(rest, span{first, x.first - 1})
		}
		if x.last >= last {
			return rest
		}
		first = x.last + 1
	}
	if first <= last {
		rest = append(rest, span{first, last})
	}
	return rest
}

// count is how many UIDs there are.
func (s spans) count() (n uint64) {
	for _, x := range s {
		n += uint64(x.last-x.first) + 1
	}
	return n
}

// takeLast takes the highest most UIDs off s.
func (s spans) takeLast(most uint32) (taken, rest spans) {
	rest = slices.Clone(s)
	for most > 0 && len(rest) > 0 {
		x := &rest[len(rest)-1]
		n := min(most, x.last-x.first+1)
		taken = append(taken, span{x.last - n + 1, x.last})
		most -= n
		if x.last-x.first+1 == n {
			rest = rest[:len(rest)-1]
		} else {
			x.last -= n
		}
	}
	slices.Reverse(taken)
	return taken, rest
}
