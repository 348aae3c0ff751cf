// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"encoding/base64"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// twoOnServer returns two queues that share a server, as two Caddys do, and
// know what is stored.
func twoOnServer(t *testing.T) (here, there *Queue) {
	t.Helper()
	server := newNATSServer(t)
	require.NoError(t, server.start())
	here, there = storeOn(t, server).open(t, "a"), storeOn(t, server).open(t, "a")
	requireCurrent(t, here, there)
	return here, there
}

// requireCurrent waits until they know what is stored.
func requireCurrent(t *testing.T, here, there *Queue) {
	t.Helper()
	acceptSoon(t, here, numbered(1_000_000))
	for _, q := range []*Queue{here, there} {
		require.Eventually(t, func() bool {
			q.shared.mu.Lock()
			defer q.shared.mu.Unlock()
			return q.shared.current
		}, patience, time.Millisecond)
	}
}

// What Dovecot repeats at another Caddy is not stored again. What is replayed is.
func TestRepeatedElsewhere(t *testing.T) {
	t.Parallel()
	here, there := twoOnServer(t)
	duplicate, err := here.Accept(t.Context(), numbered(1), time.Minute)
	require.NoError(t, err)
	require.False(t, duplicate)
	require.Eventually(t, func() bool { return there.shared.knows(identity(1), time.Minute) }, patience, time.Millisecond)
	for window, want := range map[time.Duration]bool{time.Minute: true, time.Nanosecond: false, 0: false} {
		duplicate, err = there.Accept(t.Context(), numbered(1), window)
		require.NoError(t, err)
		assert.Equal(t, want, duplicate, window)
	}
}

// Where no consumer can be made, as after the loss of a server, it is known as well.
func TestRepeatedElsewhereWithoutConsumer(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t)
	require.NoError(t, server.start())
	there := storeOn(t, server).open(t, "a")
	acceptSoon(t, there, numbered(1_000_000)) // it has made what both need
	proxy := newNATSProxy(t, server.addr)
	proxy.changes.Store(strings.NewReplacer("API.CONSUMER.CREATE", "API.CONSUMER.NONE__"))
	s := storeOn(t, server)
	s.config.External.URLs = []string{proxy.url()}
	here := s.open(t, "a")
	requireCurrent(t, here, there)
	for n := range 3 {
		acceptSoon(t, there, numbered(n))
		require.Eventually(t, func() bool { return here.shared.knows(identity(n), time.Minute) }, patience, time.Millisecond)
	}
}

// What two drivers report to two Caddys at the same time is delivered once,
// also if both read.
func TestReportedTwice(t *testing.T) {
	t.Parallel()
	here, there := twoOnServer(t)
	const many = 500
	var wg sync.WaitGroup
	for n := range many {
		for _, q := range []*Queue{here, there} {
			wg.Go(func() {
				_, err := q.Accept(t.Context(), numbered(n), time.Minute)
				assert.NoError(t, err)
			})
		}
	}
	wg.Wait()
	stream, err := here.js().Stream(t.Context(), here.names.stream)
	require.NoError(t, err)
	t.Logf("%d groups", stream.CachedInfo().State.Msgs)
	got := make(map[notification.Identity]int)
	for _, q := range []*Queue{here, there, here, there} {
		r := q.NewReader("a")
		for range 3 {
			if g, err := take(t.Context(), r); err == nil {
				for _, record := range g.Records {
					got[record.ID]++
				}
				require.NoError(t, g.Ack())
			}
		}
		r.Close()
	}
	for id, times := range drain(t, here, "a") {
		got[id] += times
	}
	for n := range many {
		assert.Equal(t, 1, got[identity(n)], n)
	}
}

func header(ids ...notification.Identity) nats.Header {
	var b []byte
	for _, id := range ids {
		b = appendID(b, id, time.Minute)
	}
	return nats.Header{headerIDs: {idEncoding.EncodeToString(b)}}
}

// The first of several in the stream is the one that is delivered, also when it is
// read again, or when the time has passed in which they are the same.
func TestShared(t *testing.T) {
	t.Parallel()
	s := newShared()
	at := func(second int64) time.Time { return time.Unix(second, 0) }
	one, two := identity(1), identity(2)
	for _, group := range []struct {
		number   uint64
		stored   int64
		ids      []notification.Identity
		repeated map[notification.Identity]bool
	}{
		{5, 100, []notification.Identity{one}, nil},
		{7, 101, []notification.Identity{two, one}, map[notification.Identity]bool{one: true}},
		{8, 159, []notification.Identity{one, two}, map[notification.Identity]bool{one: true, two: true}},
		{9, 160, []notification.Identity{one}, nil},
		{10, 219, []notification.Identity{one}, map[notification.Identity]bool{one: true}},
	} {
		h := header(group.ids...)
		s.note(group.number, at(group.stored), h, true)
		assert.Equal(t, group.repeated, s.repeated(group.number, at(group.stored), h), group.number)
	}
	assert.Empty(t, s.repeated(5, at(100), header(one)), "it comes again")
	assert.EqualValues(t, 10, s.from(12), "what came meanwhile is still to be read")
	assert.Equal(t, map[notification.Identity]bool{one: true}, s.repeated(11, at(215), header(one)))
	assert.EqualValues(t, 3, s.from(3), "the store has lost something")
	assert.Empty(t, s.repeated(11, at(215), header(one)), "and perhaps that")

	for _, h := range []nats.Header{nil, {headerIDs: {"?"}}, {headerIDs: {base64.StdEncoding.EncodeToString([]byte("short"))}}} {
		s.note(13, at(230), h, true)
		assert.Empty(t, s.repeated(13, at(230), h))
	}
}

// What is stored of a notification for the others.
func TestStoredIDs(t *testing.T) {
	t.Parallel()
	const stored = "AAAAAAAAAAEAAAAAAAAAAAB4AAAAAAAAAAIAAAAAAAAAAAAK"
	b := appendID(appendID(nil, identity(1), 2*time.Minute), identity(2), 10*time.Second)
	assert.Equal(t, stored, idEncoding.EncodeToString(b))
	got := make(map[notification.Identity]time.Duration)
	idsOf(nats.Header{"Dovecot-Push-Ids": {stored}}, func(id notification.Identity, within time.Duration) { got[id] = within })
	assert.Equal(t, map[notification.Identity]time.Duration{identity(1): 2 * time.Minute, identity(2): 10 * time.Second}, got)
}

// Who reads a group first learns what is in those before it.
func TestReaderWaitsForHeader(t *testing.T) {
	t.Parallel()
	q := embeddedStore(t).open(t, "a")
	q.shared = newShared()
	q.shared.from(0)
	accept(t, q, numbered(0))
	var known atomic.Bool
	time.AfterFunc(100*time.Millisecond, func() {
		known.Store(true)
		q.shared.note(1, time.Now(), nil, true)
	})
	_, err := take(t.Context(), q.NewReader("a"))
	require.NoError(t, err)
	assert.True(t, known.Load())
}

// A reader waits for the header of its group, but not for long, and not again and
// again.
func TestReaderDoesNotWaitLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.from(0)
		s.note(1, time.Now(), nil, true)
		waits := func(group uint64) time.Duration {
			began := time.Now()
			s.await(t.Context(), group)
			return time.Since(began)
		}
		assert.Zero(t, waits(1))
		go func() {
			time.Sleep(awaitShared / 2)
			s.note(2, time.Now(), nil, true)
		}()
		assert.Equal(t, awaitShared/2, waits(2))
		assert.Equal(t, awaitShared, waits(3))
		assert.Zero(t, waits(4), "it did not come")
		s.note(4, time.Now(), nil, true)
		assert.Equal(t, awaitShared, waits(5))
		s.note(5, time.Now(), nil, true)
		s.lost()
		time.Sleep(awaitShared / 3)
		s.lost()
		assert.Equal(t, awaitShared*2/3, waits(6), "nobody reads for a while")
		assert.Zero(t, waits(6))
	})
}
