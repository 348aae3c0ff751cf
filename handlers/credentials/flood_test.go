// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slow takes as long as a good hash takes on a slow machine.
type slow struct {
	Comparer
	takes time.Duration
}

func (s slow) Compare(hashed, plaintext []byte) (bool, error) {
	time.Sleep(s.takes)
	return s.Comparer.Compare(hashed, plaintext)
}

func slowed(pair Pair, takes time.Duration) Pair {
	pair.Comparer = slow{pair.Comparer, takes}
	return pair
}

// flood shows wrong passwords from many sources, over many connections each,
// for as long as the test lasts. It returns when it is under way.
func flood(t *testing.T, v *Verifier, sources, connections int) (stop func()) {
	t.Helper()
	var wg sync.WaitGroup
	ended := make(chan struct{})
	for n := range sources * connections {
		source := netip.AddrFrom4([4]byte{10, 0, 0, byte(n % sources)})
		wg.Go(func() {
			for i := 0; ; i++ {
				start := time.Now()
				v.Verify(request("u", fmt.Sprint(n, " ", i)), source)
				assert.LessOrEqual(t, time.Since(start), patience+2*time.Second, "nobody waits for long")
				select {
				case <-ended:
					return
				case <-time.After(500 * time.Millisecond):
				}
			}
		})
	}
	time.Sleep(time.Minute) // until each source was wrong once
	return sync.OnceFunc(func() { close(ended); wg.Wait() })
}

// A flood of wrong passwords keeps out the right one neither while it lasts nor
// afterwards, where a hash takes longer than sources need to get another
// attempt.
func TestFloodLocksNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := verifier(t, slowed(argon2ided("u", "right"), time.Second), slowed(argon2ided("v", "right"), time.Second))
		stop := flood(t, v, 20, 10)
		defer stop()
		start := time.Now()
		require.Equal(t, Accepted, v.Verify(request("u", "right"), home).Verdict)
		require.LessOrEqual(t, time.Since(start), 2*time.Second, "what is under way, and its own")
		start = time.Now()
		require.Equal(t, Accepted, v.Verify(request("v", "right"), home).Verdict)
		require.LessOrEqual(t, time.Since(start), time.Second, "the kept place is free")
		stop()
		inside, waiting := v.memory.computing.Present()
		require.Zero(t, inside)
		require.Zero(t, waiting)
		require.Empty(t, v.flights)
	})
}

// Requests that cannot be served soon get an answer that says so, and do not
// count as failures.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := verifier(t, slowed(argon2ided("u", "right"), time.Hour))
		results := make(chan Result, 100)
		for i := range cap(results) {
			go func() {
				results <- v.Verify(request("u", fmt.Sprint(i)), netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
			}()
		}
		synctest.Wait()
		inside, waiting := v.memory.computing.Present()
		require.Equal(t, maxWaiting, waiting)
		require.Len(t, results, cap(results)-maxWaiting-inside)
		time.Sleep(patience)
		synctest.Wait()
		require.Len(t, results, cap(results)-inside)
		for range len(results) {
			require.Equal(t, Result{Verdict: Busy, Wait: busyAgain}, <-results)
		}
		busy := netip.AddrFrom4([4]byte{10, 0, 0, 99})
		require.True(t, v.memory.failures.Quiet(busy))
		time.Sleep(time.Hour)
	})
}

func TestCloseEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := verifier(t, slowed(argon2ided("u", "right"), time.Hour))
		results := make(chan Result, 100)
		for i := range cap(results) {
			// Some wait for their own hash, some for that of others.
			go func() { results <- v.Verify(request("u", fmt.Sprint(i%10)), home) }()
		}
		synctest.Wait()
		v.Close()
		synctest.Wait()
		inside, waiting := v.memory.computing.Present()
		require.Zero(t, waiting)
		require.Len(t, results, cap(results)-inside)
		require.NotEqual(t, Accepted, v.Verify(request("u", "right"), home).Verdict)
		time.Sleep(time.Hour)
	})
}

// After a start a mail server comes with many connections at once: one hash is
// computed for all of them, and they are no failures.
func TestSameCredentialsShareAHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := slowed(argon2ided("u", "right"), time.Second)
		c := &counting{Comparer: pair.Comparer}
		pair.Comparer = c
		v := verifier(t, pair)
		c.count.Store(0)
		results := make(chan Result, 100)
		for range cap(results) {
			go func() { results <- v.Verify(request("u", "right"), home) }()
		}
		for range cap(results) {
			require.Equal(t, Accepted, (<-results).Verdict)
		}
		require.EqualValues(t, 1, c.count.Load())
		require.True(t, v.memory.failures.Quiet(home))

		for range cap(results) {
			go func() { results <- v.Verify(request("u", "wrong"), home) }()
		}
		verdicts := make(map[Verdict]int)
		for range cap(results) {
			verdicts[(<-results).Verdict]++
		}
		require.EqualValues(t, 2, c.count.Load())
		require.Equal(t, map[Verdict]int{Wrong: failuresAtOnce + 1, Throttled: 100 - failuresAtOnce - 1}, verdicts, "they count")
	})
}

// A verifier that shares the memory of another knows what that has found, for
// as long as the hash is the same.
func TestMemoryIsShared(t *testing.T) {
	memory := NewMemory()
	kept, changed := argon2ided("kept", "right"), argon2ided("changed", "right")
	c := &counting{Comparer: kept.Comparer}
	kept.Comparer, changed.Comparer = c, c
	before, err := New([]Pair{kept, changed}, memory)
	require.NoError(t, err)
	for _, username := range []string{"kept", "changed"} {
		require.Equal(t, Accepted, before.Verify(request(username, "right"), home).Verdict)
	}
	before.Close()

	changed = argon2ided("changed", "other")
	changed.Comparer = c
	after, err := New([]Pair{kept, changed}, memory)
	require.NoError(t, err)
	c.count.Store(0)
	require.Equal(t, Accepted, after.Verify(request("kept", "right"), home).Verdict)
	require.Zero(t, c.count.Load())
	require.Equal(t, Wrong, after.Verify(request("changed", "right"), home).Verdict)
	require.Equal(t, Accepted, after.Verify(request("changed", "other"), home).Verdict)

	without, err := New([]Pair{changed}, memory)
	require.NoError(t, err)
	require.Equal(t, Wrong, without.Verify(request("kept", "right"), home).Verdict, "the pair is gone")
}
