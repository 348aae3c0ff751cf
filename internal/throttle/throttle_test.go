// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var ten = Limit{Burst: 10, Interval: time.Second, Keys: 256}

func TestCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := New[string](ten)
		for range 10 {
			require.Zero(t, th.Wait("a"))
			require.Zero(t, th.Count("a"))
		}
		require.Equal(t, time.Second, th.Count("a"))
		require.Equal(t, time.Second, th.Wait("a"))
		require.Zero(t, th.Wait("b"), "others are not concerned")

		time.Sleep(700 * time.Millisecond)
		require.InDelta(t, 300*time.Millisecond, th.Count("a"), float64(time.Microsecond))
		time.Sleep(300 * time.Millisecond)
		require.Zero(t, th.Count("a"))
		require.Positive(t, th.Count("a"))

		time.Sleep(time.Hour)
		for range 10 {
			require.Zero(t, th.Count("a"))
		}
		require.Positive(t, th.Count("a"), "no more than at the beginning")
	})
}

func TestKeysAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := New[int](ten)
		for range ten.Burst + 1 {
			th.Count(-1)
		}
		for key := range 10 * ten.Keys {
			require.Zero(t, th.Count(key))
			require.LessOrEqual(t, th.back.Len(), 2*ten.Keys)
			// A key that keeps trying is not forgotten.
			require.Positive(t, th.Wait(-1))
		}
		require.Zero(t, th.Wait(1))
	})
}

func TestSource(t *testing.T) {
	tests := []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
		{"2001:db8:0:0::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::1%eth1", true},
		{"192.0.2.1", "2001:db8::1", false},
	}
	for _, tt := range tests {
		a, b := Source(netip.MustParseAddr(tt.a)), Source(netip.MustParseAddr(tt.b))
		require.Equal(t, tt.same, a == b, "%s %s", tt.a, tt.b)
	}
	require.Equal(t, netip.Addr{}, Source(netip.Addr{}))
}

func BenchmarkCount(b *testing.B) {
	th := New[netip.Addr](Limit{Burst: 10, Interval: time.Second, Keys: 4096})
	source := netip.MustParseAddr("10.0.0.0")
	b.ReportAllocs()
	for b.Loop() {
		source = source.Next()
		th.Count(source)
	}
}

func TestReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := New[string](ten)
		for range 100 {
			require.True(t, th.Quiet("a"))
			require.Zero(t, th.Count("a"))
			require.False(t, th.Quiet("a"))
			th.Return("a")
		}
		for range 10 {
			require.Zero(t, th.Count("a"))
		}
		require.Equal(t, time.Second, th.Count("a"))
		th.Return("a")
		require.Zero(t, th.Count("a"))
		require.Positive(t, th.Count("a"), "what is given back is no more than what was counted")

		time.Sleep(time.Hour)
		th.Return("a") // of what has come back long ago
		for range 10 {
			require.Zero(t, th.Count("a"))
		}
		require.Positive(t, th.Count("a"), "no more than at the beginning")
		time.Sleep(10*time.Second - time.Nanosecond)
		require.False(t, th.Quiet("a"))
		time.Sleep(time.Nanosecond)
		require.True(t, th.Quiet("a"))
	})
}

// Concurrent callers get no more than sequential ones, whatever happens between
// the count and the act.
func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := New[string](ten)
		var through atomic.Int64
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				if th.Count("a") == 0 {
					time.Sleep(100 * time.Millisecond)
					through.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 10, through.Load())
	})
}
