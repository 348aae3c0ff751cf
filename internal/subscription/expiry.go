// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import "time"

// expired reports whether s has expired.
func (s *Subscription) expired(now time.Time) bool { return !now.Before(s.Expires) }

// active returns the subscriptions that have not expired. It copies only if it
// must.
func active(list []Subscription, now time.Time) []Subscription {
	for i := range list {
		if !list[i].expired(now) {
			continue
		}
		left := make([]Subscription, i, len(list))
		copy(left, list)
		for _, s := range list[i+1:] {
			if !s.expired(now) {
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

// withLast returns list with newer last deliveries.
func withLast(list []Subscription, used map[string]Delivery) []Subscription {
	updated := append([]Subscription(nil), list...)
	for i := range updated {
		if d, ok := used[updated[i].ID]; ok {
			updated[i].recordDelivery(d)
		}
	}
	return updated
}

// recordDelivery stores a delivery. One that succeeded extends the
// subscription, unless its address has changed since.
func (s *Subscription) recordDelivery(d Delivery) {
	if s.Last == nil || d.Time.After(s.Last.Time) {
		s.Last = &d
	}
	if d.Outcome == Delivered && s.Confirmed() && d.Time.Add(Lifetime).After(s.Expires) {
		s.extend(d.Time, Lifetime)
	}
}

// extend makes s expire after lifetime from now, or earlier if its push service
// says so.
func (s *Subscription) extend(now time.Time, lifetime time.Duration) {
	s.Expires = now.Add(lifetime).UTC().Truncate(time.Second)
	if !s.PushServiceExpiry.IsZero() && s.PushServiceExpiry.Before(s.Expires) {
		s.Expires = s.PushServiceExpiry
	}
}
