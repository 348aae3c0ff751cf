// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// checkGroups makes sure that groups hold every user once, that none is larger
// than size, and that each mask fits the users of its group and no others.
func checkGroups(t *testing.T, users []string, size int) (count int) {
	t.Helper()
	var all []string
	for g := range groupsOf(users, "", size) {
		count++
		require.NotEmpty(t, g.users)
		all = append(all, g.users...)
		assert.Equal(t, g.users, g.within(users))
		if g.mask == "" {
			assert.Len(t, g.users, 1)
			continue
		}
		require.LessOrEqual(t, len(g.users), size)
		pattern := strings.NewReplacer(`\`, `\\`, "[", `\[`).Replace(g.mask)
		var fits []string
		for _, user := range users {
			if ok, err := path.Match(pattern, strings.ReplaceAll(user, "/", "|")); assert.NoError(t, err) && ok {
				fits = append(fits, user)
			}
		}
		require.Equal(t, g.users, fits, g.mask)
	}
	require.Equal(t, users, all)
	return count
}

func TestGroups(t *testing.T) {
	assert.Equal(t, 0, checkGroups(t, nil, 10))
	assert.Equal(t, 1, checkGroups(t, []string{"a"}, 10))
	assert.Equal(t, 1, checkGroups(t, names(1000), 1000))
	assert.Equal(t, 2, checkGroups(t, names(2000), 1000))
	assert.Equal(t, 10, checkGroups(t, names(10_000), 1000))
	assert.Equal(t, 100, checkGroups(t, names(100_000), 1000))

	odd := []string{"", "a", "a*", "a*b", "a?", "ab", "abc", "abd", "é", "éa", "ë", "\xc3", "[x", `\y`, "ab*"}
	slices.Sort(odd)
	for size := 1; size < len(odd); size++ {
		checkGroups(t, odd, size)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var users []string
		for range 200 {
			user := make([]byte, 1+random.IntN(6))
			for i := range user {
				user[i] = "abc*?\xc3\xa9@."[random.IntN(9)]
			}
			users = append(users, string(user))
		}
		slices.Sort(users)
		checkGroups(t, slices.Compact(users), 1+random.IntN(20))
	}
}

func TestSmallerGroups(t *testing.T) {
	users := names(1000)
	var g group
	for g = range groupsOf(users, "", 1000) {
		break
	}
	var all []string
	for part := range g.smaller() {
		assert.LessOrEqual(t, len(part.users), 100)
		all = append(all, part.users...)
	}
	assert.Equal(t, users, all)
	for part := range (group{mask: "user*", users: users[:2]}).smaller() {
		assert.Len(t, part.users, 1)
	}
}

func TestSplit(t *testing.T) {
	for _, test := range []struct{ users, listing, listed, unlisted string }{
		{"", "", "", ""},
		{"a b", "", "", "a b"},
		{"", "a b", "", ""},
		{"a c e", "a b c d", "a c", "e"},
		{"b", "a c", "", "b"},
		{"a b", "a b", "a b", ""},
	} {
		listed, unlisted := split(strings.Fields(test.users), strings.Fields(test.listing))
		assert.Equal(t, test.listed, strings.Join(listed, " "), fmt.Sprint(test))
		assert.Equal(t, test.unlisted, strings.Join(unlisted, " "), fmt.Sprint(test))
	}
}
