// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func inBubble(t *testing.T, test func(t *testing.T, g *targetBreaker)) {
	t.Helper()
	old := probes
	probes = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second}
	t.Cleanup(func() { probes = old })
	synctest.Test(t, func(t *testing.T) {
		g := newTargetBreaker(newHealth())
		makeFailing(g)
		test(t, g)
	})
}

// sick is an item that the breaker allows only when it is closed.
const sick = item(1)

// makeFailing makes it so, after an outage of everybody as well.
func makeFailing(g *targetBreaker) {
	g.health.note(sick, Result{}, time.Now().Add(1))
}

// attempt makes an attempt when the breaker allows it, and returns how long
// that took.
func attempt(t *testing.T, g *targetBreaker, o Outcome) (probe bool, waited time.Duration, change transition) {
	t.Helper()
	start, i := time.Now(), sick
	p, err := g.wait(t.Context(), i)
	require.NoError(t, err)
	waited = time.Since(start)
	change, _, _ = g.done(p, i, Result{Outcome: o, Fault: FaultOfService})
	return p == passProbe, waited, change
}

func bringDown(t *testing.T, g *targetBreaker) {
	t.Helper()
	makeFailing(g)
	for i := range downAfter {
		require.False(t, g.isDown())
		probe, waited, change := attempt(t, g, TryAgain)
		require.False(t, probe)
		require.Zero(t, waited)
		require.Equal(t, i == downAfter-1, change == wentDown)
	}
	require.True(t, g.isDown())
}

func requireWaited(t *testing.T, want, got time.Duration) {
	t.Helper()
	require.InDelta(t, want, got, float64(want)*0.2+float64(time.Microsecond))
}

func TestBreakerClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, g *targetBreaker) {
		for range 10 { // never three in a row
			for _, o := range []Outcome{TryAgain, TryAgain, Delivered, TryAgain, TryAgain, Refused} {
				probe, waited, change := attempt(t, g, o)
				require.False(t, probe)
				require.Zero(t, waited)
				require.Equal(t, unchanged, change)
			}
		}
		require.False(t, g.isDown())
	})
}

func TestBreakerIntervalsGrow(t *testing.T) {
	inBubble(t, func(t *testing.T, g *targetBreaker) {
		for range 2 { // and start again after the target was back
			bringDown(t, g)
			down := time.Now()
			for _, want := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 5 * time.Second} {
				probe, waited, change := attempt(t, g, TryAgain)
				require.True(t, probe)
				requireWaited(t, want, waited)
				require.Equal(t, unchanged, change)
				require.True(t, g.isDown())
			}
			probe, err := g.wait(t.Context(), sick)
			require.NoError(t, err)
			change, lasted, _ := g.done(probe, sick, Result{Outcome: Delivered, Fault: FaultOfService})
			require.Equal(t, cameBack, change)
			require.Equal(t, time.Since(down), lasted)
			require.False(t, g.isDown())
		}
	})
}

// A receiver that refuses a single notification is there.
func TestBreakerRefusedIsAnAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, g *targetBreaker) {
		bringDown(t, g)
		_, _, change := attempt(t, g, Refused)
		require.Equal(t, cameBack, change)
	})
}

func TestBreakerMisconfiguredOpensAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, g *targetBreaker) {
		_, _, change := attempt(t, g, Misconfigured)
		require.Equal(t, wentDown, change)
		probe, waited, change := attempt(t, g, Misconfigured)
		require.True(t, probe)
		requireWaited(t, time.Second, waited)
		require.Equal(t, unchanged, change, "it is said once")
		_, waited, change = attempt(t, g, Delivered)
		requireWaited(t, 2*time.Second, waited)
		require.Equal(t, cameBack, change)
	})
}

// While a target is down one attempt is made at a time, however many wait; when
// it is back everybody goes.
func TestBreakerSingleProbe(t *testing.T) {
	inBubble(t, func(t *testing.T, g *targetBreaker) {
		bringDown(t, g)
		entered := make(chan pass, 20)
		for range cap(entered) {
			go func() {
				probe, err := g.wait(t.Context(), sick)
				if err == nil {
					entered <- probe
				}
			}()
		}
		for range 3 {
			require.Equal(t, passProbe, <-entered)
			time.Sleep(time.Minute) // the attempt takes its time
			synctest.Wait()
			require.Empty(t, entered)
			g.done(passProbe, sick, Result{Outcome: TryAgain, Fault: FaultOfService})
			synctest.Wait()
			require.Empty(t, entered, "not at once")
		}
		require.Equal(t, passProbe, <-entered)
		g.done(passProbe, sick, Result{Outcome: Delivered, Fault: FaultOfService})
		synctest.Wait()
		require.Len(t, entered, cap(entered)-4)
		for range cap(entered) - 4 {
			require.Equal(t, passFree, <-entered)
		}
	})
}

// Attempts that were under way when the target went down end while it is down.
func TestBreakerStragglers(t *testing.T) {
	inBubble(t, func(t *testing.T, g *targetBreaker) {
		for range 5 {
			_, err := g.wait(t.Context(), sick)
			require.NoError(t, err)
		}
		bringDown(t, g)
		time.Sleep(900 * time.Millisecond)
		for range 3 { // failures are no news, and put nothing off
			change, _, _ := g.done(passFree, sick, Result{Outcome: TryAgain, Fault: FaultOfService})
			require.Equal(t, unchanged, change)
		}
		change, _, _ := g.done(passFree, sick, Result{Outcome: Misconfigured, Fault: FaultOfService})
		require.Equal(t, unchanged, change)
		start := time.Now()
		probe, err := g.wait(t.Context(), sick)
		require.NoError(t, err)
		require.Equal(t, passProbe, probe)
		require.LessOrEqual(t, time.Since(start), 300*time.Millisecond)

		// A success is: the target works, although a probe is still out.
		change, _, _ = g.done(passFree, sick, Result{Outcome: Delivered, Fault: FaultOfService})
		require.Equal(t, cameBack, change)
		free, waited, _ := attempt(t, g, Delivered)
		require.False(t, free)
		require.Zero(t, waited)
		change, _, _ = g.done(probe, sick, Result{Outcome: TryAgain, Fault: FaultOfService})
		require.Equal(t, unchanged, change)
		require.False(t, g.isDown(), "one failure is the fault of one notification")

		// The probe's end counts for nothing later on.
		_, _, change = attempt(t, g, Delivered)
		require.Equal(t, unchanged, change)
		bringDown(t, g)
		for _, want := range []time.Duration{time.Second, 2 * time.Second} {
			isProbe, waited, _ := attempt(t, g, TryAgain)
			require.True(t, isProbe)
			requireWaited(t, want, waited)
		}
	})
}

// A probe that ends nothing lets the next one go at once.
func TestBreakerCancel(t *testing.T) {
	inBubble(t, func(t *testing.T, g *targetBreaker) {
		g.cancel(passFree)
		bringDown(t, g)
		probe, err := g.wait(t.Context(), sick)
		require.NoError(t, err)
		require.Equal(t, passProbe, probe)
		next := make(chan pass)
		go func() {
			probe, _ := g.wait(t.Context(), sick)
			next <- probe
		}()
		synctest.Wait()
		start := time.Now()
		g.cancel(probe)
		require.Equal(t, passProbe, <-next)
		require.Zero(t, time.Since(start))
		g.cancel(passProbe)
		require.True(t, g.isDown())
	})
}

func TestBreakerContext(t *testing.T) {
	inBubble(t, func(t *testing.T, g *targetBreaker) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		bringDown(t, g)
		start := time.Now()
		_, err := g.wait(ctx, sick) // awaited for the next probe
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 100*time.Millisecond, time.Since(start))

		time.Sleep(time.Minute) // a probe is due
		_, err = g.wait(ctx, sick)
		require.ErrorIs(t, err, context.DeadlineExceeded, "nothing begins after the end")

		probe, err := g.wait(t.Context(), sick)
		require.NoError(t, err)
		require.Equal(t, passProbe, probe)
		ctx, cancel = context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := g.wait(ctx, sick) // awaited for the end of the probe
			ended <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		g.done(probe, sick, Result{Outcome: Delivered, Fault: FaultOfService})
		_, err = g.wait(ctx, sick)
		require.ErrorIs(t, err, context.Canceled)
	})
}
