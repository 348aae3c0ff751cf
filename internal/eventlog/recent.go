// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"slices"
	"time"
)

const (
	maxRecent = 4096
	recentAge = 5 * time.Second
)

// recent remembers, for a moment, events that nobody wanted. Where several
// Caddys share a store, one learns of a stream at another a moment late: what
// came in between is found here.
type recent struct {
	ring [maxRecent]*remembered
	next int
}

type remembered struct {
	offer
	at time.Time
}

func (r *recent) add(o offer) {
	r.ring[r.next] = &remembered{o, time.Now()}
	r.next = (r.next + 1) % maxRecent
}

// of returns what came for user within the last moments, oldest first.
func (r *recent) of(user string) []offer {
	var found []offer
	now := time.Now()
	for i := range maxRecent {
		at := (r.next - 1 - i + 2*maxRecent) % maxRecent
		o := r.ring[at]
		if o == nil || now.Sub(o.at) > recentAge {
			break
		}
		if o.user == user {
			found = append(found, o.offer)
		}
	}
	slices.Reverse(found)
	return found
}
