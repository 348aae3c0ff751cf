// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package proven

import (
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(16, time.Minute)
		key := s.Key("somebody", "swordfish")
		require.False(t, s.Has(key))
		s.Add(key)
		require.True(t, s.Has(s.Key("somebody", "swordfish")))
		for _, other := range [][]string{{"somebody", "swordfisH"}, {"somebodys", "wordfish"}, {"", "somebodyswordfish"}, {"somebody"}, {}} {
			require.False(t, s.Has(s.Key(other...)), other)
		}
		require.NotContains(t, fmt.Sprintf("%+v %#v", s, s), "swordfish")
		require.False(t, New(16, 0).Has(key), "keys of one set say nothing to another")

		time.Sleep(time.Minute - time.Nanosecond)
		require.True(t, s.Has(key))
		time.Sleep(time.Nanosecond)
		require.False(t, s.Has(key))
		s.Add(key)
		require.True(t, s.Has(key))
		s.Forget(key)
		require.False(t, s.Has(key))
	})
}

func TestKeysDiffer(t *testing.T) {
	s := New(16, 0)
	seen := map[Key]bool{}
	for _, c := range [][2]string{{"a", "b"}, {"", "ab"}, {"ab", ""}, {"a", "bc"}, {"ab", "c"}, {"b", "a"}, {"a\x00", "b"}, {"a", "\x00b"}} {
		key := s.Key(c[0], c[1])
		require.Equal(t, key, s.Key(c[0], c[1]))
		require.False(t, seen[key], c)
		seen[key] = true
	}
	require.NotEqual(t, s.Key("a", "b"), New(16, 0).Key("a", "b"), "every set has its own secret")
}

func TestSetIsBounded(t *testing.T) {
	s := New(16, 0)
	for i := range 100 {
		s.Add(s.Key(strconv.Itoa(i)))
		require.True(t, s.Has(s.Key(strconv.Itoa(i))))
		require.LessOrEqual(t, len(s.young)+len(s.old), 32)
	}
	require.False(t, s.Has(s.Key("1")))
}
