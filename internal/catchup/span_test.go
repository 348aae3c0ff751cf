// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// Spans are a set of UIDs: whatever is added in whatever order, it is compared
// with a map.
func TestSpans(t *testing.T) {
	const highest = 60
	for range 300 {
		var s spans
		is := make(map[uint32]bool)
		for range rand.N(60) {
			uid := 1 + rand.N(uint32(highest))
			s, is[uid] = s.add(uid), true
			for i := 1; i < len(s); i++ {
				require.Greater(t, s[i].first, s[i-1].last+1, "sorted and apart: %v", s)
			}
		}
		require.EqualValues(t, len(is), s.count())
		first, last := 1+rand.N(uint32(highest)), 1+rand.N(uint32(highest))
		rest := s.without(first, last)
		for uid := uint32(1); uid <= highest; uid++ {
			missing := uid >= first && uid <= last && !is[uid]
			require.Equal(t, missing, len(rest.without(uid, uid)) == 0, "%d in %v without %v, %d:%d", uid, rest, s, first, last)
		}
		most := rand.N(uint32(highest))
		taken, left := rest.takeLast(most)
		require.Equal(t, min(uint64(most), rest.count()), taken.count())
		require.Equal(t, rest.count(), taken.count()+left.count())
		if len(taken) > 0 && len(left) > 0 {
			require.Greater(t, taken[0].first, left[len(left)-1].last)
		}
	}
	require.Equal(t, spans{{math.MaxUint32 - 1, math.MaxUint32}}, spans(nil).add(math.MaxUint32).add(math.MaxUint32-1))
	require.Equal(t, spans{{1, math.MaxUint32}}, spans(nil).without(1, math.MaxUint32))
}

func TestMark(t *testing.T) {
	at := time.Unix(1000, 0)
	m := new(mark)
	require.Empty(t, m.missing(10), "nothing is known about the mailbox")
	m.accept(7)
	require.Empty(t, m.missing(8), "what was there before the first one is none of ours")
	m.accept(10)
	m.accept(9)
	require.Equal(t, spans{{8, 8}, {11, 12}}, m.missing(13))
	m.accept(8)
	require.EqualValues(t, 10, m.done)
	require.Empty(t, m.above)
	m.accept(3)
	require.EqualValues(t, 10, m.done)
	m.accept(20)
	require.True(t, m.has(20))
	require.False(t, m.has(19))
	require.True(t, m.settle(16, at))
	require.False(t, m.settle(16, at))
	require.Equal(t, spans{{16, 19}}, m.missing(21))
	require.True(t, m.settle(20, at))
	require.EqualValues(t, 20, m.done)

	m.acceptNameless(nameless{headers: 1, id: 1, at: 999})
	m.acceptNameless(nameless{headers: 1, id: 1, at: 999})
	m.acceptNameless(nameless{headers: 1, id: 2, at: 1001})
	require.True(t, m.recognize(1))
	require.False(t, m.recognize(2))
	require.False(t, m.settle(20, at))
	require.True(t, m.recognize(1))
	require.False(t, m.recognize(1), "the same one read twice counts once")

	for uid := uint32(1000); uid < 1000+4*maxGaps; uid += 2 {
		m.accept(uid)
	}
	require.Len(t, m.above, maxGaps)
	require.EqualValues(t, maxGaps, m.missing(1000+4*maxGaps-1).count(), "the newest gaps are remembered")
}

func TestEntries(t *testing.T) {
	marks := []*mark{
		{},
		nil,
		{based: true, done: math.MaxUint32, reported: 1, found: math.MaxUint32},
		{based: true, done: 5, above: spans{{7, 7}, {9, math.MaxUint32}}, nameless: []nameless{{1, 2, 3}, {math.MaxUint32, 0, 4}}},
	}
	entry := []byte{entryVersion}
	for i, m := range marks {
		entry = appendMark(entry, notification.Mailbox(i), m)
	}
	var got []*mark
	require.NoError(t, parseEntry(entry, func(_ notification.Mailbox, m *mark) { got = append(got, m) }))
	require.Equal(t, marks, got)
	for cut := range len(entry) {
		n := 0
		err := parseEntry(entry[:cut], func(notification.Mailbox, *mark) { n++ })
		require.True(t, err != nil || n < len(marks), "cut to %d bytes", cut)
	}
	require.Error(t, parseEntry([]byte{entryVersion + 1}, nil))
}

// The file is what is stored. A format that changes gets a new version and a new
// file; those that exist stay as they are.
func TestStoredEntry(t *testing.T) {
	want := map[notification.Mailbox]*mark{
		0x0102030405060708: {based: true, done: 4711, reported: 1795967778, found: 1795967779, above: spans{{4713, 4720}, {4722, 4722}}},
		0x1112131415161718: {reported: 1795967778, nameless: []nameless{{0xdeadbeef, 0x01020304, 1795967778}}},
		0x2122232425262728: nil,
	}
	stored, err := os.ReadFile("testdata/entry-1")
	require.NoError(t, err)
	got := make(map[notification.Mailbox]*mark)
	require.NoError(t, parseEntry(stored, func(mailbox notification.Mailbox, m *mark) { got[mailbox] = m }))
	require.Equal(t, want, got)
	entry := []byte{entryVersion}
	for _, mailbox := range slices.Sorted(maps.Keys(want)) {
		entry = appendMark(entry, mailbox, want[mailbox])
	}
	require.Equal(t, stored, entry, "what is stored changed: give it a new version")
}
