// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// groupSize is how many users are read with one request at most. Dovecot
	// answers when it has visited all of them, half a millisecond for each, and
	// the answer is some 100 bytes for each.
	groupSize = 1000
	// maskWorthwhile is how many users Dovecot visits in one request in the time
	// that one request for one user takes.
	maskWorthwhile = 10
)

// group is the users that a mask matches, and no others.
type group struct {
	mask  string   // empty if they must be read one by one
	users []string // sorted
}

// groupsOf divides users, sorted and all of those that Dovecot has, into groups
// of up to size. prefix is what all of them begin with.
func groupsOf(users []string, prefix string, size int) iter.Seq[group] {
	return func(yield func(group) bool) { divide(users, prefix, size, yield) }
}

func divide(users []string, prefix string, size int, yield func(group) bool) bool {
	switch {
	case len(users) == 0:
		return true
	case len(users) <= size:
		return yield(group{mask: prefix + "*", users: users})
	}
	for len(users) > 0 {
		next := prefix + firstRune(users[0][len(prefix):])
		if next == prefix || strings.ContainsAny(next, "*?") || !utf8.ValidString(next) {
			// The user is called like the prefix, or has a name that masks
			// cannot spell.
			if !yield(group{users: users[:1]}) {
				return false
			}
			users = users[1:]
			continue
		}
		end, _ := slices.BinarySearchFunc(users, next, func(user, next string) int {
			if strings.HasPrefix(user, next) {
				return -1
			}
			return strings.Compare(user, next)
		})
		if !divide(users[:end], next, size, yield) {
			return false
		}
		users = users[end:]
	}
	return true
}

// smaller divides a group that could not be read as a whole.
func (g group) smaller() iter.Seq[group] {
	return groupsOf(g.users, strings.TrimSuffix(g.mask, "*"), max(len(g.users)/maskWorthwhile, 1))
}

func firstRune(s string) string {
	_, size := utf8.DecodeRuneInString(s)
	return s[:size]
}

// within returns the users that are in the group. Both are sorted, and the
// group holds all users between its first and its last.
func (g group) within(users []string) []string {
	from, _ := slices.BinarySearch(users, g.users[0])
	to, found := slices.BinarySearch(users, g.users[len(g.users)-1])
	if found {
		to++
	}
	return users[from:to]
}

// split separates the users that are listed from those that are not. All are
// sorted.
func split(users, listing []string) (listed, unlisted []string) {
	if len(listing) == 0 {
		return nil, users
	}
	listed = make([]string, 0, min(len(users), len(listing)))
	i := 0
	for _, user := range users {
		for i < len(listing) && listing[i] < user {
			i++
		}
		if i < len(listing) && listing[i] == user {
			listed = append(listed, user)
		} else {
			unlisted = append(unlisted, user)
		}
	}
	return listed, unlisted
}

// Group is users of Dovecot that one mask fits, and no other user. Mask is
// empty if they must be asked about one by one. Users are sorted.
type Group struct {
	Mask  string
	Users []string
}

// Groups divides all users that Dovecot has, sorted, into groups that are worth
// one request each.
func Groups(listing []string) iter.Seq[Group] { return exported(groupsOf(listing, "", groupSize)) }

// Smaller divides a group that could not be read as a whole.
func (g Group) Smaller() iter.Seq[Group] { return exported(group{g.Mask, g.Users}.smaller()) }

func exported(groups iter.Seq[group]) iter.Seq[Group] {
	return func(yield func(Group) bool) {
		for g := range groups {
			if !yield(Group{g.mask, g.users}) {
				return
			}
		}
	}
}

// Pays reports whether one request with the mask takes less time than one for
// each of so many users of the group.
func (g Group) Pays(users int) bool {
	return g.Mask != "" && users > 1 && users*maskWorthwhile >= len(g.Users)
}
