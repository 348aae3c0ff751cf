// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

// The directory is what the first version that stored anything left behind: six
// notifications that one target has had, but for one that is parked and one that
// is a dead letter, and another target has had two of. What was parked had another
// subject then: it is counted, and not delivered.
func TestUpgrade(t *testing.T) {
	queue.SetDeadLetterAge(t, longest)
	dir := t.TempDir()
	unpack(t, "testdata/store-1.tar.gz", dir)
	queuetest.InVirtualTime(t, func(t *testing.T) {
		for range 2 { // and again, once this version has written to it
			q := openOld(t, dir)
			requireOld(t, q)
			require.NoError(t, q.Close())
		}
		q := openOld(t, dir)
		slow := takeAll(t, q.NewReader("slow"))
		require.Len(t, slow, 4)
		for n, g := range slow {
			require.Equal(t, []queue.Record{old(2 + n)}, g.Records)
		}
		require.Empty(t, takeAll(t, q.NewReader("fast")))
		_, err := q.Accept(t.Context(), old(9), time.Minute)
		require.NoError(t, err)
		require.Len(t, takeAll(t, q.NewReader("fast")), 1)
		require.NoError(t, q.Close())
	})
}

// longest is how long everything in it is kept, so that this test does not end
// one day: the store removes by the real time, also while another is the test's.
const longest = 100 * 365 * 24 * time.Hour

// old is a notification in it.
func old(n int) queue.Record {
	return queue.Record{
		ID: notification.Identity{15: byte(n)}, Accepted: time.UnixMilli(1795967778000 + int64(n)),
		Body: []byte(`{"user":"alice@example.com","folder":"INBOX","imap-uid":` + strconv.Itoa(n) + `}`),
	}
}

func openOld(t *testing.T, dir string) *queue.Queue {
	t.Helper()
	q, err := queue.Open(t.Context(), queuetest.Config(dir))
	require.NoError(t, err)
	t.Cleanup(func() { _ = q.Close() }) // also when the test fails: nothing may go on in its time
	_, err = q.Use(t.Context(), []string{"fast", "slow"})
	require.NoError(t, err)
	return q
}

func requireOld(t *testing.T, q *queue.Queue) {
	t.Helper()
	st, err := q.Stats(t.Context(), []string{"fast", "slow"})
	require.NoError(t, err)
	require.Equal(t, map[string]queue.TargetStats{"fast": {Parked: 1, Dead: 1}, "slow": {Waiting: 4}}, st.Targets)
	for letter, err := range q.DeadLetters(t.Context(), queue.DeadLetterFilter{}) {
		require.NoError(t, err)
		require.Equal(t, "status_400", letter.Reason)
		require.Equal(t, old(4), letter.Record)
	}
	entry, err := q.Table("streams").Get(t.Context(), queue.Key{"alice@example.com"})
	require.NoError(t, err)
	require.Equal(t, "1795973178123", string(entry.Value))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var events []string
	err = q.Log("events", queue.LogLimits{Age: longest, Bytes: 1 << 20}).Follow(ctx, func(queue.LogState) uint64 { return 0 },
		func(e queue.LogEntry) { events = append(events, string(e.Data)) }, cancel)
	require.ErrorIs(t, err, context.Canceled, "once it has seen all")
	require.Equal(t, []string{"\x01events of this version"}, events)
}

// takeAll takes everything that waits, and acknowledges it.
func takeAll(t *testing.T, r *queue.Reader) (all []*queue.Group) {
	t.Helper()
	defer r.Close()
	for {
		groups, err := r.Take(t.Context(), 100, 1<<20)
		if errors.Is(err, queue.ErrNoMore) {
			return all
		}
		require.NoError(t, err)
		for _, g := range groups {
			require.NoError(t, g.Ack())
		}
		all = append(all, groups...)
	}
}

// unpack writes the files of an archive into a directory.
func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	require.NoError(t, err)
	defer f.Close()
	content, err := gzip.NewReader(f)
	require.NoError(t, err)
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	for files := tar.NewReader(content); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		if header.Typeflag == tar.TypeDir {
			require.NoError(t, root.MkdirAll(header.Name, 0o700))
			continue
		}
		data, err := io.ReadAll(files)
		require.NoError(t, err)
		require.NoError(t, root.WriteFile(header.Name, data, 0o600))
	}
}
