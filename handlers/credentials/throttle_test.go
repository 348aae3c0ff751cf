// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// fail shows wrong credentials until they are no longer looked at, and returns
// how often they were.
func fail(v *Verifier, source netip.Addr) (wrong int, last Result) {
	for {
		last = v.Verify(request("u", "wrong"), source)
		if last.Verdict != Wrong {
			return wrong, last
		}
		wrong++
	}
}

func TestThrottle(t *testing.T) {
	for name, pair := range map[string]Pair{"plain": plain("u", "right"), "hash": argon2ided("u", "right")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := verifier(t, pair)
				wrong, last := fail(v, home)
				require.Equal(t, failuresAtOnce, wrong)
				require.Equal(t, Result{Verdict: Throttled, Wait: time.Second}, last)

				time.Sleep(700 * time.Millisecond)
				wrong, last = fail(v, home)
				require.Zero(t, wrong)
				require.InDelta(t, 300*time.Millisecond, last.Wait, float64(time.Microsecond))

				time.Sleep(300 * time.Millisecond)
				wrong, _ = fail(v, home)
				require.Equal(t, 1, wrong)

				time.Sleep(time.Hour)
				wrong, _ = fail(v, home)
				require.Equal(t, failuresAtOnce, wrong, "no more than at the beginning")
			})
		})
	}
}

func TestMalformedCredentialsAreFailures(t *testing.T) {
	v := verifier(t, plain("u", "right"))
	for range failuresAtOnce {
		require.Equal(t, Wrong, v.Verify(withHeader("Basic !"), home).Verdict)
	}
	require.Equal(t, Throttled, v.Verify(withHeader("Basic !"), home).Verdict)
	require.Equal(t, Missing, v.Verify(withHeader(), home).Verdict, "no credentials are no failure")
}

// Nobody can lock out the mail server that he shares an address with.
func TestThrottledSourceGetsInWithRightCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := argon2ided("hashed", "seen before")
		c := &counting{Comparer: pair.Comparer}
		pair.Comparer = c
		v := verifier(t, plain("plain", "right"), pair, argon2ided("hashed", "never seen"))
		require.Equal(t, Accepted, v.Verify(request("hashed", "seen before"), home).Verdict)
		fail(v, home)

		c.count.Store(0)
		require.Equal(t, Accepted, v.Verify(request("plain", "right"), home).Verdict)
		require.Equal(t, Accepted, v.Verify(request("hashed", "seen before"), home).Verdict)
		require.Equal(t, Throttled, v.Verify(request("hashed", "never seen"), home).Verdict)
		require.Zero(t, c.count.Load(), "a throttled source makes nobody compute")

		other := netip.MustParseAddr("192.0.2.2")
		require.Equal(t, Accepted, v.Verify(request("hashed", "never seen"), other).Verdict)
		require.Equal(t, Accepted, v.Verify(request("hashed", "never seen"), home).Verdict, "it is known now")
	})
}

func TestSourcesOfIPv6AreNetworks(t *testing.T) {
	v := verifier(t, plain("u", "right"))
	fail(v, netip.MustParseAddr("2001:db8::1"))
	require.Equal(t, Throttled, v.Verify(request("u", "wrong"), netip.MustParseAddr("2001:db8::2")).Verdict)
	require.Equal(t, Wrong, v.Verify(request("u", "wrong"), netip.Addr{}).Verdict)
}
