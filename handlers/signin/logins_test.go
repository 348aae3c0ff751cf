// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const alice = "alice@example.com"

func TestRightLoginIsCheckedOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailServer()
		l := newLogins(m.check, nil)
		require.Equal(t, verdict{result: Accepted}, l.verify(t.Context(), alice, "wonderland", home))
		for range 100 {
			require.Equal(t, verdict{result: Known}, l.verify(t.Context(), alice, "wonderland", home))
		}
		require.Equal(t, 1, m.count())
		require.Equal(t, verdict{result: Accepted}, l.verify(t.Context(), alice, "wonderland", other))
		require.Equal(t, 2, m.count(), "from elsewhere it is another one")
		m.users[alice] = "changed"
		time.Sleep(knownFor)
		require.Equal(t, verdict{result: Wrong}, l.verify(t.Context(), alice, "wonderland", other))
		require.Equal(t, verdict{result: Accepted}, l.verify(t.Context(), alice, "changed", other))
	})
}

// wrong shows wrong passwords until they are no longer looked at, and returns
// how many were.
func wrong(l *logins, user string, source netip.Addr) (looked int, wait time.Duration) {
	for i := 0; ; i++ {
		v := l.verify(context.Background(), user, fmt.Sprint("guess ", i), source)
		if v.result != Wrong {
			return looked, v.wait
		}
		looked++
	}
}

func TestSourceIsThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailServer()
		l := newLogins(m.check, nil)
		// One for each of many accounts.
		for i := range bySource.Burst {
			require.Equal(t, Wrong, l.verify(t.Context(), fmt.Sprint("user", i), "x", home).result)
		}
		v := l.verify(t.Context(), alice, "wonderland", home)
		require.Equal(t, Throttled, v.result, "right or not, nobody looks")
		require.Positive(t, v.wait)
		require.Equal(t, bySource.Burst, m.count())
		require.Equal(t, Accepted, l.verify(t.Context(), alice, "wonderland", other).result)
		require.Equal(t, Throttled, l.verify(t.Context(), alice, "wonderland", home).result, "that it is right elsewhere tells nobody here")
		require.Equal(t, Known, l.verify(t.Context(), alice, "wonderland", other).result)

		time.Sleep(bySource.Interval - delay)
		looked, _ := wrong(l, "user", home)
		require.Equal(t, 1, looked)
	})
}

func TestAccountIsThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailServer()
		l := newLogins(m.check, nil)
		require.Equal(t, Accepted, l.verify(t.Context(), alice, "wonderland", home).result)
		time.Sleep(knownFor)
		asked := m.count()
		// Many sources for one account.
		for i := range 100 {
			l.verify(t.Context(), alice, "x", netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
			if i < byAccount.Burst {
				require.Equal(t, asked+i+1, m.count())
			}
		}
		// Meanwhile some time has passed, because the refused have to wait.
		require.Less(t, m.count()-asked, byAccount.Burst+12)
		require.Equal(t, Throttled, l.verify(t.Context(), alice, "wonderland", other).result)
		require.Equal(t, Accepted, l.verify(t.Context(), alice, "wonderland", home).result,
			"a user who has signed in from there before is not locked out by others")
		require.Equal(t, Accepted, l.verify(t.Context(), "bob@example.com", "builder", other).result)
	})
}

func TestImplausibleLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailServer()
		l := newLogins(m.check, nil)
		long := strings.Repeat("x", 1<<20)
		for i, login := range [][2]string{
			{"", "x"}, {alice, ""}, {long, "x"}, {alice, long}, {"a\r\nb", "x"}, {"a\x00", "x"}, {alice, "a\x00b"}, {"\xff", "x"}, {alice, "x\r\nA LOGOUT"},
		} {
			source := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			require.Equal(t, Wrong, l.verify(t.Context(), login[0], login[1], source).result, i)
			looked, _ := wrong(l, "", source)
			require.Equal(t, bySource.Burst-1, looked, "they count")
		}
		require.Zero(t, m.count())
	})
}

func TestChecksAreFewAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailServer()
		m.holding = make(chan struct{})
		l := newLogins(m.check, nil)
		const visitors = 1000
		results := make(map[Result]int)
		var mu sync.Mutex
		var wg sync.WaitGroup
		count := func(r Result) int {
			mu.Lock()
			defer mu.Unlock()
			return results[r]
		}
		for i := range visitors {
			wg.Go(func() {
				v := l.verify(t.Context(), fmt.Sprint("user", i), "x", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
				mu.Lock()
				defer mu.Unlock()
				results[v.result]++
			})
		}
		time.Sleep(delay)
		synctest.Wait()
		require.Equal(t, checking.Concurrent, m.count())
		require.Equal(t, visitors-checking.Concurrent-checking.Waiting, count(Busy), "the others do not wait in line")
		time.Sleep(checking.MaxWait)
		synctest.Wait()
		require.Equal(t, visitors-checking.Concurrent, count(Busy))
		close(m.holding)
		wg.Wait()
		require.Equal(t, checking.Concurrent, count(Wrong))
		require.Equal(t, checking.Concurrent, m.most)

		require.Equal(t, Accepted, l.verify(t.Context(), alice, "wonderland", home).result)
	})
}

// Requests from one source leave room for those from others.
func TestChecksOfOneSourceAreFewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailServer()
		m.holding = make(chan struct{})
		l := newLogins(m.check, nil)
		results := make(map[Result]int)
		var mu sync.Mutex
		var wg sync.WaitGroup
		count := func(r Result) int {
			mu.Lock()
			defer mu.Unlock()
			return results[r]
		}
		for i := range 1000 {
			wg.Go(func() {
				v := l.verify(t.Context(), fmt.Sprint("user", i), "x", home)
				mu.Lock()
				defer mu.Unlock()
				results[v.result]++
			})
		}
		time.Sleep(delay)
		synctest.Wait()
		require.Equal(t, 1000-checking.PerSource, count(Busy))
		done := make(chan verdict, 1)
		go func() { done <- l.verify(t.Context(), alice, "wonderland", other) }()
		synctest.Wait()
		close(m.holding)
		wg.Wait()
		require.Equal(t, Accepted, (<-done).result)
		requireEmpty(t, l)
	})
}

// A user who has signed in is not affected by the wrong logins of others from
// the same source.
func TestKnownLoginOfThrottledSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailServer()
		l := newLogins(m.check, nil)
		require.Equal(t, Accepted, l.verify(t.Context(), alice, "wonderland", home).result)
		wrong(l, "user", home)
		require.Equal(t, Known, l.verify(t.Context(), alice, "wonderland", home).result)
		require.Equal(t, Throttled, l.verify(t.Context(), "bob@example.com", "builder", home).result)
	})
}

// However many come at once, no more wrong logins of a source or for an account
// reach the mail server than one after the other.
func TestManyAtOnceAreNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailServer()
		m.holding = make(chan struct{})
		l := newLogins(m.check, nil)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() { l.verify(t.Context(), fmt.Sprint("user", i), "x", home) })
			wg.Go(func() {
				l.verify(t.Context(), alice, fmt.Sprint("guess ", i), netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
			})
		}
		time.Sleep(delay)
		close(m.holding)
		wg.Wait()
		require.LessOrEqual(t, m.count(), bySource.Burst+byAccount.Burst+1)
		requireEmpty(t, l)
	})
}

// Right logins are no failures, however many people are behind one source.
func TestManyPeopleBehindOneSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailServer()
		l := newLogins(func(ctx context.Context, user, password string) error {
			time.Sleep(50 * time.Millisecond)
			return m.check(ctx, user, password)
		}, nil)
		const people = 24
		for i := range people {
			m.users[fmt.Sprint("user", i)] = "x"
		}
		for range 10 {
			var wg sync.WaitGroup
			for i := range people {
				wg.Go(func() { assert.Equal(t, Accepted, l.verify(t.Context(), fmt.Sprint("user", i), "x", home).result) })
			}
			wg.Wait()
			time.Sleep(knownFor)
		}
		require.Equal(t, 10*people, m.count())
	})
}

func requireEmpty(t *testing.T, l *logins) {
	t.Helper()
	inside, waiting := l.checking.Present()
	require.Zero(t, inside)
	require.Zero(t, waiting)
}

// Ten thousand wrong logins from a few hundred sources: the mail server gets
// few of them, and few at once.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailServer()
		l := newLogins(m.check, nil)
		results := make(map[Result]int)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 10_000 {
			wg.Go(func() {
				v := l.verify(t.Context(), fmt.Sprintf("user%d@example.com", i%50), fmt.Sprint(i), netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
				mu.Lock()
				defer mu.Unlock()
				results[v.result]++
			})
		}
		wg.Wait()
		require.Equal(t, 10_000, results[Wrong]+results[Throttled]+results[Busy], "%v", results)
		require.LessOrEqual(t, m.count(), 50*byAccount.Burst+checking.Concurrent)
		require.LessOrEqual(t, m.most, checking.Concurrent)
		require.Zero(t, l.tarpit.delayed.Load())
		requireEmpty(t, l)
	})
}

func TestRefusedOnesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogins(newMailServer().check, nil)
		wrong(l, "user", home)
		start := time.Now()
		require.Equal(t, Throttled, l.verify(t.Context(), "user", "x", home).result)
		require.Equal(t, delay, time.Since(start))

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start = time.Now()
		l.verify(ctx, "user", "x", home)
		require.Zero(t, time.Since(start), "nobody waits for who has gone")

		l.tarpit.delayed.Store(maxDelayed)
		l.verify(t.Context(), "user", "x", home)
		require.Zero(t, time.Since(start), "and only so many wait")
		require.EqualValues(t, maxDelayed, l.tarpit.delayed.Load())
	})
}

func TestMailServerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailServer()
		m.down = errors.New("connection refused")
		l := newLogins(m.check, nil)
		for range 100 {
			v := l.verify(t.Context(), alice, "wonderland", home)
			require.Equal(t, verdict{result: Unavailable, wait: busyRetryAfter, err: m.down}, v)
		}
		m.down = nil
		require.Equal(t, Accepted, l.verify(t.Context(), alice, "wonderland", home).result, "nobody is to blame")

		m.holding = make(chan struct{}) // it does not answer
		start := time.Now()
		v := l.verify(t.Context(), "bob@example.com", "builder", home)
		require.Equal(t, Unavailable, v.result)
		require.ErrorIs(t, v.err, context.DeadlineExceeded)
		require.Equal(t, checkTimeout+delay, time.Since(start))
	})
}

// A client that hangs up before the answer comes has still made its guess.
func TestHangingUpDoesNotHelp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailServer()
		m.holding = make(chan struct{})
		l := newLogins(m.check, nil)
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			go l.verify(ctx, alice, "x", home)
			synctest.Wait()
			cancel()
			synctest.Wait()
		}
		close(m.holding)
		synctest.Wait()
		asked := m.count()
		require.Equal(t, checking.ConcurrentPerSource, asked)
		looked, _ := wrong(l, "user", home)
		require.Equal(t, bySource.Burst-asked, looked)
	})
}

// What is done about right logins, such as to register their users, does not
// keep others from signing in, however long it takes.
func TestAcceptedHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, slow := newMailServer(), make(chan struct{})
		var told, most atomic.Int64
		l := newLogins(m.check, func(_ context.Context, _, password string) {
			most.Add(1)
			require.Equal(t, "x", password)
			<-slow
			told.Add(1)
		})
		people := checking.Concurrent + 4
		for i := range people {
			m.users[fmt.Sprint("slow", i)] = "x"
		}
		var wg sync.WaitGroup
		for i := range people {
			user := fmt.Sprint("slow", i)
			source := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			wg.Go(func() { require.Equal(t, Accepted, l.verify(t.Context(), user, "x", source).result) })
		}
		synctest.Wait()
		require.EqualValues(t, checking.Concurrent, most.Load(), "it is bounded")
		require.Equal(t, people, m.count(), "all were checked")
		require.Equal(t, Wrong, l.verify(t.Context(), alice, "guess", home).result)
		close(slow)
		wg.Wait()
		require.EqualValues(t, people, told.Load())
	})
}
