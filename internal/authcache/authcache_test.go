// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package authcache

import (
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(16, time.Minute)
		key := c.Key("somebody", "swordfish")
		require.False(t, c.Has(key))
		c.Add(key)
		require.True(t, c.Has(c.Key("somebody", "swordfish")))
		for _, other := range [][]string{{"somebody", "swordfisH"}, {"somebodys", "wordfish"}, {"", "somebodyswordfish"}, {"somebody"}, {}} {
			require.False(t, c.Has(c.Key(other...)), other)
		}
		require.NotContains(t, fmt.Sprintf("%+v %#v", c, c), "swordfish")
		require.False(t, New(16, 0).Has(key), "a key of one cache means nothing to another")

		time.Sleep(time.Minute - time.Nanosecond)
		require.True(t, c.Has(key))
		time.Sleep(time.Nanosecond)
		require.False(t, c.Has(key))
		c.Add(key)
		require.True(t, c.Has(key))
	})
}

func TestKeysDiffer(t *testing.T) {
	cache := New(16, 0)
	seen := map[Key]bool{}
	for _, c := range [][2]string{{"a", "b"}, {"", "ab"}, {"ab", ""}, {"a", "bc"}, {"ab", "c"}, {"b", "a"}, {"a\x00", "b"}, {"a", "\x00b"}} {
		key := cache.Key(c[0], c[1])
		require.Equal(t, key, cache.Key(c[0], c[1]))
		require.False(t, seen[key], c)
		seen[key] = true
	}
	require.NotEqual(t, cache.Key("a", "b"), New(16, 0).Key("a", "b"), "each cache has its own secret")
}

func TestCacheIsBounded(t *testing.T) {
	c := New(16, 0)
	for i := range 100 {
		c.Add(c.Key(strconv.Itoa(i)))
		require.True(t, c.Has(c.Key(strconv.Itoa(i))))
		require.LessOrEqual(t, c.added.Len(), 32)
	}
	require.False(t, c.Has(c.Key("1")))
}
