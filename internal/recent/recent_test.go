// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package recent

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMap(t *testing.T) {
	const limit = 16
	m := NewMap[int, string](limit)
	_, ok := m.Get(1)
	require.False(t, ok)
	for key := range 10 * limit {
		m.Set(-1, "always")
		m.Set(key, "first")
		m.Set(key, "second")
		require.LessOrEqual(t, m.Len(), 2*limit)
		for back := range min(key+1, limit-1) { // and the one that is always set
			value, ok := m.Get(key - back)
			require.True(t, ok, "%d of %d", key-back, key)
			require.Equal(t, "second", value)
		}
		_, ok := m.Get(key - 2*limit)
		require.False(t, ok && key-2*limit >= 0)
	}
}

// A key that is set again makes no room for itself.
func TestMapSetAgain(t *testing.T) {
	m := NewMap[int, int](2)
	m.Set(1, 1)
	m.Set(2, 2)
	for range 10 {
		m.Set(2, 3)
	}
	value, ok := m.Get(1)
	require.True(t, ok)
	require.Equal(t, 1, value)
	require.Equal(t, 2, m.Len())
}
