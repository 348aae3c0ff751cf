// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import "time"

// ended tells whether the time of s is over.
func (s *Subscription) ended(now time.Time) bool { return !now.Before(s.Expires) }

// alive returns those that have not ended. It copies only if it must.
func alive(list []Subscription, now time.Time) []Subscription {
	for i := range list {
		if !list[i].ended(now) {
			continue
		}
		left := make([]Subscription, i, len(list))
		copy(left, list)
		for _, s := range list[i+1:] {
			if !s.ended(now) {
				left = append(left, s)
			}
		}
		return left
	}
	return list
}

func indexOf(list []Subscription, id string) int {
	for i := range list {
		if list[i].ID == id {
			return i
		}
	}
	return -1
}

// withLast is list with newer last deliveries.
func withLast(list []Subscription, used map[string]Delivery) []Subscription {
	updated := append([]Subscription(nil), list...)
	for i := range updated {
		if d, ok := used[updated[i].ID]; ok {
			updated[i].use(d)
		}
	}
	return updated
}

// use notes a delivery; one that succeeded makes the device live longer, unless
// it has moved since.
func (s *Subscription) use(d Delivery) {
	if s.Last == nil || d.Time.After(s.Last.Time) {
		s.Last = &d
	}
	if d.Outcome == Delivered && s.Confirmed() && d.Time.Add(Life).After(s.Expires) {
		s.live(d.Time, Life)
	}
}

// live makes s end after life from now, or when its push service ends it.
func (s *Subscription) live(now time.Time, life time.Duration) {
	s.Expires = now.Add(life).UTC().Truncate(time.Second)
	if !s.Ends.IsZero() && s.Ends.Before(s.Expires) {
		s.Expires = s.Ends
	}
}
