// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

func TestGroupRoundTrip(t *testing.T) {
	records := []Record{
		{Accepted: time.UnixMilli(0), Body: []byte{}},
		numbered(1),
		{ID: identity(math.MaxInt), Accepted: time.UnixMilli(math.MaxInt64), Body: body(300)},
		{ID: identity(4), Accepted: time.Date(2026, 11, 23, 16, 16, 18, 123e6, time.UTC).Local(), Body: body(1 << 16)},
		{
			ID: identity(5), Mailbox: math.MaxUint64, UID: math.MaxUint32, Accepted: time.UnixMilli(5), Destination: "device",
			Attempts: 1000, Replayed: time.UnixMilli(6), TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Source: notification.CatchUp, Body: body(10),
		},
	}
	group := []byte{groupVersion}
	size := 1
	for i := range records {
		group = appendRecord(group, &records[i])
		size += records[i].maxSize()
	}
	require.LessOrEqual(t, len(group), size)
	got, err := parseGroup(group)
	require.NoError(t, err)
	require.Equal(t, records, got)

	// Who appends to a body must not write into the next record.
	_ = append(got[1].Body, "overwritten"...)
	again, err := parseGroup(group)
	require.NoError(t, err)
	require.Equal(t, records, again)
}

// What an earlier version stored is still delivered.
func TestGroupVersion1(t *testing.T) {
	old := func(b []byte, r Record) []byte {
		b = append(b, r.ID[:]...)
		b = binary.AppendUvarint(b, uint64(r.Accepted.UnixMilli()))
		return append(binary.AppendUvarint(b, uint64(len(r.Body))), r.Body...)
	}
	group := old(old([]byte{1}, numbered(1)), numbered(2))
	got, err := parseGroup(group)
	require.NoError(t, err)
	require.Equal(t, []Record{numbered(1), numbered(2)}, got)
	for cut := 2; cut < len(group); cut++ {
		got, err := parseGroup(group[:cut])
		require.True(t, err != nil || len(got) == 1, "cut to %d bytes", cut)
	}
}

// The files are what each version stores. A format that changes gets a new
// version and a new file; those that exist stay as they are.
func TestStoredGroups(t *testing.T) {
	id := func(b byte) (id notification.Identity) {
		return notification.Identity(bytes.Repeat([]byte{b}, len(id)))
	}
	const content = `{"user":"alice@example.com","folder":"INBOX"}`
	first := Record{ID: id(1), Accepted: time.UnixMilli(1795967778123), Body: []byte(content)}
	second := Record{ID: id(2), Accepted: time.UnixMilli(1795967778124), Body: []byte{}}
	full := first
	full.Mailbox, full.UID, full.Attempts, full.Replayed = 0x0102030405060708, 4711, 300, time.UnixMilli(1795967778125)
	full.Destination, full.TraceParent = "device", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	found := full
	found.Source = notification.CatchUp
	versions := [][]Record{1: {first, second}, 2: {full, second}, 3: {found, second}}
	require.Len(t, versions, groupVersion+1, "a new version needs a file")
	for version, want := range versions[1:] {
		stored, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("group-%d", version+1)))
		require.NoError(t, err)
		got, err := parseGroup(stored)
		require.NoError(t, err)
		require.Equal(t, want, got, "version %d", version+1)
		if version+1 == groupVersion {
			group := []byte{groupVersion}
			for i := range want {
				group = appendRecord(group, &want[i])
			}
			require.Equal(t, stored, group, "what is stored changed: give it a new version")
		}
	}
}

func TestGroupTimes(t *testing.T) {
	for _, accepted := range []time.Time{{}, time.UnixMilli(-1), time.Unix(0, 999_999)} {
		r := Record{Accepted: accepted}
		got, err := parseGroup(appendRecord([]byte{groupVersion}, &r))
		require.NoError(t, err)
		require.True(t, got[0].Accepted.Equal(time.UnixMilli(max(accepted.UnixMilli(), 0))), "%v", got[0].Accepted)
	}
}

func TestGroupDamaged(t *testing.T) {
	r := numbered(1)
	group := appendRecord([]byte{groupVersion}, &r)
	head := bytes.Clone(group[:1+16+8])
	huge := binary.AppendUvarint(append(bytes.Clone(head), 0, 0), math.MaxUint64)
	endless := append(bytes.Clone(head), bytes.Repeat([]byte{0xff}, 20)...)
	for name, data := range map[string][]byte{
		"nothing":         nil,
		"version":         append([]byte{groupVersion + 1}, group[1:]...),
		"version 0":       append([]byte{0}, group[1:]...),
		"size too large":  huge,
		"endless number":  endless,
		"more at the end": append(bytes.Clone(group), 1, 2, 3),
	} {
		_, err := parseGroup(data)
		require.ErrorIs(t, err, errCorruptGroup, name)
	}
	for cut := 2; cut < len(group); cut++ {
		_, err := parseGroup(group[:cut])
		require.ErrorIs(t, err, errCorruptGroup, "cut to %d bytes", cut)
	}
}

func FuzzParseGroup(f *testing.F) {
	one, two := numbered(1), Record{Body: body(200)}
	group := appendRecord(appendRecord([]byte{groupVersion}, &one), &two)
	f.Add(group)
	f.Add(group[:len(group)-1])
	f.Add([]byte{groupVersion})
	f.Add(append([]byte{1}, bytes.Repeat([]byte{0}, 16+2)...))
	f.Add(binary.AppendUvarint(bytes.Repeat([]byte{groupVersion}, 18), math.MaxUint64))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		records, err := parseGroup(data)
		require.Equal(t, before, data)
		if err != nil {
			require.ErrorIs(t, err, errCorruptGroup)
			return
		}
		// Records are bounded by the data: nothing was allocated for sizes it
		// only claims.
		total := 1
		for _, r := range records {
			total += len(r.ID) + 2 + len(r.Body)
		}
		require.LessOrEqual(t, total, len(data))
		again := []byte{groupVersion} // whatever the version was
		for i := range records {
			if records[i].Accepted.UnixMilli() < 0 {
				return // more milliseconds than time has: not ours
			}
			again = appendRecord(again, &records[i])
		}
		same, err := parseGroup(again)
		require.NoError(t, err)
		require.Equal(t, records, same)
	})
}
