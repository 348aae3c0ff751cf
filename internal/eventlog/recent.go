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

// recent keeps, for a few seconds, events that were not stored. If several
// Caddys share a store, each learns of a stream at another one a moment late.
// The events in between are found here.
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

// of returns the recent events for user, oldest first.
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
