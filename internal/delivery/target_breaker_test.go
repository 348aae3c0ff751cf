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

// sick returns a job whose item the breaker allows only when it is closed.
func sick() *job { return mailJob(1, 1) }

// makeFailing makes it so, after an outage of everybody as well.
func makeFailing(g *targetBreaker) {
	g.health.note(itemOf(sick()), Result{}, time.Now().Add(1))
}

func admit(ctx context.Context, g *targetBreaker) (pass, error) {
	p, _, err := g.admit(ctx, sick(), time.Now)
	return p, err
}

func done(g *targetBreaker, p pass, o Outcome) effect {
	return g.done(sick(), p, Result{Outcome: o, Fault: FaultOfService}, time.Now())
}

// attempt makes an attempt when the breaker allows it, and returns how long
// that took.
func attempt(t *testing.T, g *targetBreaker, o Outcome) (probe bool, waited time.Duration, change transition) {
	t.Helper()
	start := time.Now()
	p, err := admit(t.Context(), g)
	require.NoError(t, err)
	waited = time.Since(start)
	return p == passProbe, waited, done(g, p, o).change
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
			probe, err := admit(t.Context(), g)
			require.NoError(t, err)
			e := done(g, probe, Delivered)
			require.Equal(t, cameBack, e.change)
			require.Equal(t, time.Since(down), e.lasted)
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
				probe, err := admit(t.Context(), g)
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
			done(g, passProbe, TryAgain)
			synctest.Wait()
			require.Empty(t, entered, "not at once")
		}
		require.Equal(t, passProbe, <-entered)
		done(g, passProbe, Delivered)
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
			_, err := admit(t.Context(), g)
			require.NoError(t, err)
		}
		bringDown(t, g)
		time.Sleep(900 * time.Millisecond)
		for range 3 { // failures are no news, and put nothing off
			change := done(g, passFree, TryAgain).change
			require.Equal(t, unchanged, change)
		}
		change := done(g, passFree, Misconfigured).change
		require.Equal(t, unchanged, change)
		start := time.Now()
		probe, err := admit(t.Context(), g)
		require.NoError(t, err)
		require.Equal(t, passProbe, probe)
		require.LessOrEqual(t, time.Since(start), 300*time.Millisecond)

		// A success is: the target works, although a probe is still out.
		change = done(g, passFree, Delivered).change
		require.Equal(t, cameBack, change)
		free, waited, _ := attempt(t, g, Delivered)
		require.False(t, free)
		require.Zero(t, waited)
		change = done(g, probe, TryAgain).change
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
		g.cancel(sick(), passFree)
		bringDown(t, g)
		probe, err := admit(t.Context(), g)
		require.NoError(t, err)
		require.Equal(t, passProbe, probe)
		next := make(chan pass)
		go func() {
			probe, _ := admit(t.Context(), g)
			next <- probe
		}()
		synctest.Wait()
		start := time.Now()
		g.cancel(sick(), probe)
		require.Equal(t, passProbe, <-next)
		require.Zero(t, time.Since(start))
		g.cancel(sick(), passProbe)
		require.True(t, g.isDown())
	})
}

func TestBreakerContext(t *testing.T) {
	inBubble(t, func(t *testing.T, g *targetBreaker) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		bringDown(t, g)
		start := time.Now()
		_, err := admit(ctx, g) // awaited for the next probe
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 100*time.Millisecond, time.Since(start))

		time.Sleep(time.Minute) // a probe is due
		_, err = admit(ctx, g)
		require.ErrorIs(t, err, context.DeadlineExceeded, "nothing begins after the end")

		probe, err := admit(t.Context(), g)
		require.NoError(t, err)
		require.Equal(t, passProbe, probe)
		ctx, cancel = context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := admit(ctx, g) // awaited for the end of the probe
			ended <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		done(g, probe, Delivered)
		_, err = admit(ctx, g)
		require.ErrorIs(t, err, context.Canceled)
	})
}
