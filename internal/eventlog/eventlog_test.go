// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

func TestStreams(t *testing.T) {
	l := newLog(t)
	first, second, other := newClient(t, l, alice), newClient(t, l, alice), newClient(t, l, bob)
	defer first.hangUp()
	defer second.hangUp()
	defer other.hangUp()
	require.Equal(t, Now, first.start)
	for i := range 10 {
		offered(t, l, alice, i)
	}
	offered(t, l, bob, 100)
	require.Equal(t, numbers(0, 10), first.wait(10))
	require.Equal(t, numbers(0, 10), second.wait(10))
	require.Equal(t, []string{"100"}, other.wait(1), "everybody gets their own only")
	offered(t, l, alice, 5)
	offered(t, l, alice, 10)
	require.Equal(t, numbers(0, 11), first.wait(11), "one that is delivered again does not come again")
}

func TestResume(t *testing.T) {
	l := newLog(t)
	c := newClient(t, l, alice)
	offered(t, l, alice, 0)
	c.wait(1)
	c.hangUp()
	for i := range 20 {
		offered(t, l, alice, i+1)
		offered(t, l, bob, 1000+i)
	}
	c.connect(l, alice)
	require.Equal(t, Resumed, c.start)
	require.Equal(t, numbers(0, 21), c.wait(21))
	c.hangUp()
	c.connect(l, alice)
	require.Equal(t, Resumed, c.start)
	offered(t, l, alice, 21)
	require.Equal(t, numbers(0, 22), c.wait(22))
	c.hangUp()

	// The history of one user says nothing to another.
	c.got = nil
	c.connect(l, bob)
	require.Empty(t, c.got)
	c.hangUp()
}

// A stream from the beginning has what is left of the history, then what comes.
func TestBeginning(t *testing.T) {
	l := newLog(t)
	c := newClient(t, l, alice)
	for i := range maxEvents + 10 {
		offered(t, l, alice, i)
		c.wait(i + 1)
	}
	c.hangUp()

	c = (&client{t: t, lastID: Beginning}).connect(l, alice)
	require.Equal(t, Whole, c.start)
	require.Equal(t, numbers(10, maxEvents+10), c.got)
	offered(t, l, alice, maxEvents+10)
	require.Equal(t, numbers(10, maxEvents+11), c.wait(maxEvents+1))
	c.hangUp()
	c.connect(l, alice)
	require.Equal(t, Resumed, c.start, "it goes on from there")
	c.hangUp()

	c = (&client{t: t, lastID: Beginning}).connect(l, "carol@example.com")
	require.Equal(t, Whole, c.start)
	require.Empty(t, c.got)
	c.hangUp()
}

// Each event of a batch is a place to go on from.
func TestResumeWithinBatch(t *testing.T) {
	l := newLog(t)
	c := newClient(t, l, alice)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() { assert.NoError(t, offerTo(context.Background(), l, alice, i)) })
	}
	wg.Wait()
	all := c.wait(64)
	events := l.topics[alice].events
	for i, e := range events {
		again := &client{t: t, lastID: e.ID}
		again.connect(l, alice)
		require.Equal(t, Resumed, again.start)
		require.Equal(t, all[i+1:], append([]string{}, again.got...))
		again.hangUp()
	}
	c.hangUp()
}

func TestReset(t *testing.T) {
	l := newLog(t)
	c := newClient(t, l, alice)
	good := c.lastID
	offered(t, l, alice, 1)
	c.wait(1)
	c.hangUp()
	made := l.history.made
	for name, id := range map[string]string{
		"nonsense":         "nonsense",
		"of another log":   encodeID(made.Add(time.Second), 1, time.Now()),
		"too old":          encodeID(made, l.history.head, time.Now().Add(-time.Hour-time.Second)),
		"from the future":  encodeID(made, l.history.head, time.Now().Add(2*time.Hour)),
		"with a long tail": good + string(make([]byte, 1<<20)),
		"negative":         "-" + good,
		"of two parts":     good[:len(good)/2],
		"beyond the end":   encodeID(made, position(l.history.head>>placeBits+1, 0), time.Now()),
	} {
		again := &client{t: t, lastID: id}
		again.connect(l, alice)
		require.Equal(t, Reset, again.start, name)
		require.Empty(t, again.got, name)
		again.hangUp()
	}
	again := &client{t: t, lastID: good}
	again.connect(l, alice)
	require.Equal(t, Resumed, again.start)
	require.Equal(t, []string{"1"}, again.got)
	again.hangUp()

	// More than is kept for one user.
	there := newClient(t, l, alice)
	for i := range maxEvents + 1 {
		offered(t, l, alice, 10+i)
		there.wait(i + 1)
	}
	there.hangUp()
	again = &client{t: t, lastID: good}
	again.connect(l, alice)
	require.Equal(t, Reset, again.start)
	again.hangUp()
	bobs := &client{t: t, lastID: good}
	bobs.connect(l, bob)
	require.Equal(t, Resumed, bobs.start, "one user's flood is not another's loss")
	bobs.hangUp()
}

// Another Caddy that shares the store may be ahead: what it issued is resumed.
func TestResumeAhead(t *testing.T) {
	l := newLog(t)
	c := newClient(t, l, alice)
	offered(t, l, alice, 1)
	offered(t, l, alice, 2)
	c.wait(2)
	c.hangUp()
	l.mu.Lock()
	l.history.head -= 1 << placeBits // as if the last entry had not been read yet
	l.mu.Unlock()
	c.connect(l, alice)
	defer c.hangUp()
	require.Equal(t, Resumed, c.start)
	offered(t, l, alice, 3)
	require.Equal(t, numbers(1, 4), c.wait(3))
}

// A store that has lost its end gives the same positions out again. Streams end,
// and what was issued before is not resumed, also when others have got there.
func TestLostEnd(t *testing.T) {
	l := newLog(t)
	c := newClient(t, l, alice)
	for i := range 3 {
		offered(t, l, alice, i)
		c.wait(i + 1)
	}
	l.mu.Lock()
	made, first := l.history.made, c.lastID
	l.mu.Unlock()
	require.EqualValues(t, 0, l.begin(queue.LogState{Made: made, First: 1, Last: 1}), "it is read again")
	require.False(t, c.next())
	require.ErrorIs(t, c.stream.err, ErrLost)
	c.hangUp()
	l.read(queue.LogEntry{Seq: 4, Stored: time.Now(), Data: []byte{batchVersion}})
	again := (&client{t: t, lastID: first}).connect(l, alice)
	require.Equal(t, Reset, again.start)
	again.hangUp()
	l.mu.Lock()
	l.history.since = l.history.since.Add(-2 * time.Second)
	l.mu.Unlock()
	again.connect(l, alice)
	defer again.hangUp()
	require.Equal(t, Resumed, again.start, "what was issued since is resumed")
}

// A stream that does not keep up gets an error, and resets.
func TestSlowStream(t *testing.T) {
	l := newLog(t)
	slow, quick := newClient(t, l, alice), newClient(t, l, alice)
	for i := range maxEvents + 1 {
		offered(t, l, alice, i)
		quick.wait(i + 1)
	}
	_, _, err := slow.stream.Next()
	require.ErrorIs(t, err, ErrSlow)
	slow.hangUp()
	slow.connect(l, alice)
	require.Equal(t, Reset, slow.start)
	offered(t, l, alice, 1000)
	require.Equal(t, []string{"1000"}, slow.wait(1))
	slow.hangUp()
	quick.hangUp()
}

// Nothing is written for users who have no stream, and had none of late.
func TestNothingIsWrittenForNobody(t *testing.T) {
	l := newLog(t)
	require.Eventually(t, l.Idle, patience, time.Millisecond)
	never := func() (string, []byte) { t.Error("nobody wants this"); return "", nil }
	require.NoError(t, l.Offer(t.Context(), alice, notification.Identity{1}, never))
	c := newClient(t, l, bob)
	require.False(t, l.Idle())
	require.NoError(t, l.Offer(t.Context(), alice, notification.Identity{1}, never))
	offered(t, l, bob, 1)
	c.wait(1)
	require.EqualValues(t, 1, l.history.last, "entries in the store")
	c.hangUp()
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	var c *client
	// A subtest each, for its end closes everything.
	t.Run("before", func(t *testing.T) {
		l := openLog(t, openQueue(t, dir), quick)
		c = newClient(t, l, alice)
		for i := range 5 {
			offered(t, l, alice, i)
		}
		c.wait(5)
		offered(t, l, alice, 5) // which does not reach the client any more
	})
	_, _, err := c.stream.Next()
	require.ErrorIs(t, err, ErrClosed)
	c.hangUp()
	for round := range 3 {
		t.Run("after", func(t *testing.T) {
			l := openLog(t, openQueue(t, dir), quick)
			c.t = t
			require.NoError(t, offerTo(t.Context(), l, alice, 6+round), "before the client is back")
			c.connect(l, alice)
			require.Equal(t, Resumed, c.start)
			require.Equal(t, numbers(0, 7+round), c.wait(7+round))
		})
		c.hangUp()
	}
}

// A client whose last event has long left the history, and that was there all
// the time, has lost nothing.
func TestQuietStreamIsResumed(t *testing.T) {
	dir := t.TempDir()
	short := quick
	short.history = 2 * time.Second
	var c *client
	t.Run("before", func(t *testing.T) {
		l := openLog(t, openQueue(t, dir), short)
		c = newClient(t, l, alice)
		offered(t, l, alice, 1)
		c.wait(1)
		require.Eventually(t, func() bool {
			c.next() // as for each heartbeat
			l.mu.Lock()
			defer l.mu.Unlock()
			return len(l.topics[alice].events) == 0
		}, patience, 10*time.Millisecond)
		require.True(t, c.next())
		require.Zero(t, l.history.bytes)
		c.hangUp()
		again := *c
		again.connect(l, alice)
		require.Equal(t, Resumed, again.start)
		require.True(t, again.next())
		c.lastID = again.lastID
		again.hangUp()
	})
	t.Run("after", func(t *testing.T) {
		l := openLog(t, openQueue(t, dir), quick) // with time to open it
		c.t = t
		c.connect(l, alice)
		require.Equal(t, Resumed, c.start)
		c.hangUp()
	})
}

func TestTooManyStreams(t *testing.T) {
	l := newLog(t)
	var all []*client
	for range MaxStreams {
		all = append(all, newClient(t, l, alice))
	}
	_, _, err := l.Open(t.Context(), alice, "", func() {})
	require.ErrorIs(t, err, ErrTooMany)
	newClient(t, l, bob).hangUp()
	all[0].hangUp()
	all[0].hangUp() // again
	all[0].connect(l, alice)
	for _, c := range all {
		c.hangUp()
	}
	require.Empty(t, l.topics[alice].streams)
}

func TestClosed(t *testing.T) {
	l := newLog(t)
	c := newClient(t, l, alice)
	l.Close()
	<-c.ready
	_, _, err := c.stream.Next()
	require.ErrorIs(t, err, ErrClosed)
	c.hangUp()
	_, _, err = l.Open(t.Context(), alice, "", func() {})
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, offerTo(t.Context(), l, alice, 1), ErrClosed)
}

func TestStoreAway(t *testing.T) {
	q := openQueue(t, t.TempDir())
	require.NoError(t, q.Close())
	l := openLog(t, q, quick)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err := l.Open(ctx, alice, "", func() {})
	require.ErrorIs(t, err, queue.ErrUnavailable)
	require.Error(t, offerTo(ctx, l, alice, 1))
	require.False(t, l.Idle(), "nobody knows")
}

// While the store is reopened nothing is lost, and nothing comes twice.
func TestStoreReopened(t *testing.T) {
	dir := t.TempDir()
	q := openQueue(t, dir)
	l := openLog(t, q, quick)
	c := newClient(t, l, alice)
	defer c.hangUp()
	n := 0
	for i := range 5 {
		for range 10 {
			offered(t, l, alice, n)
			n++
		}
		require.NoError(t, q.Reconcile(t.Context(), queue.Config{
			Embedded: &queue.Embedded{Path: dir, Sync: time.Duration(i+1) * time.Second}, MaxBytes: 32 << 20, MaxAge: time.Hour,
		}))
	}
	require.Equal(t, numbers(0, n), c.wait(n))
}

func TestBatchCoding(t *testing.T) {
	offers := []offer{
		{"a", "mail", notification.Identity{1}, []byte("x")},
		{"jürgen", "", notification.Identity{2}, nil},
		{"c", "change", notification.Identity{3}, make([]byte, 4096)},
	}
	b := []byte{batchVersion}
	for _, o := range offers {
		b = appendOffer(b, o)
	}
	got, err := decodeBatch(b)
	require.NoError(t, err)
	require.Len(t, got, 3)
	for i, o := range offers {
		require.Equal(t, fmt.Sprint(o), fmt.Sprint(got[i]))
	}
	for i := range len(b) {
		got, err := decodeBatch(b[:i])
		if err == nil {
			continue // between two
		}
		require.ErrorIs(t, err, errBatch)
		require.LessOrEqual(t, len(got), 3)
	}
	_, err = decodeBatch([]byte{9, 1, 2})
	require.ErrorIs(t, err, errBatch)
}

// The file is what this version stores. A format that changes gets a new version
// and a new file.
func TestStoredBatch(t *testing.T) {
	stored, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("batch-%d", batchVersion)))
	require.NoError(t, err)
	id := func(b byte) (id notification.Identity) {
		return notification.Identity(bytes.Repeat([]byte{b}, len(id)))
	}
	want := []offer{
		{alice, "mail", id(1), []byte(`{"folder":"INBOX"}`)},
		{"bob", "", id(2), []byte{}},
	}
	got, err := decodeBatch(stored)
	require.NoError(t, err)
	require.Equal(t, want, got)
	batch := []byte{batchVersion}
	for _, o := range want {
		batch = appendOffer(batch, o)
	}
	require.Equal(t, stored, batch, "what is stored changed: give it a new version")
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(appendOffer([]byte{batchVersion}, offer{"a", "mail", notification.Identity{1}, []byte("x")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		offers, err := decodeBatch(b)
		if err != nil && !errors.Is(err, errBatch) {
			t.Fatal(err)
		}
		if err == nil {
			again := []byte{batchVersion}
			for _, o := range offers {
				again = appendOffer(again, o)
			}
			if len(again) > len(b) {
				t.Fatal("read more than there is")
			}
		}
	})
}
