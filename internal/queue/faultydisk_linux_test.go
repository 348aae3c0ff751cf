// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/faultydisk"
	"github.com/dovecotpush/caddy-dovecot-push/internal/testlog"
)

// storeOnFaultyDisk is an embedded store on a disk that can fail.
func storeOnFaultyDisk(t *testing.T) (*testStore, *faultydisk.Disk) {
	t.Helper()
	disk := faultydisk.New(t)
	s := embeddedStore(t)
	s.config.Embedded.Path = filepath.Join(disk.Dir, "queue")
	return s, disk
}

// acceptAsEndpoint accepts as the endpoint does, which waits no longer than
// Dovecot.
func acceptAsEndpoint(t *testing.T, q *Queue, r Record) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patienceOfEndpoint)
	defer cancel()
	_, err := q.Accept(ctx, r, time.Minute)
	if err != nil {
		require.True(t, errors.Is(err, ErrUnavailable) || errors.Is(err, ErrFull), "%v", err)
	}
	return err
}

// whileFaulty requires that f returns while the disk has the fault it has now.
func whileFaulty(t *testing.T, disk *faultydisk.Disk, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		disk.Set(faultydisk.Fault{})
		<-done
		require.Fail(t, what+" waits for the disk")
	}
}

// Whatever a disk does, each notification is answered meanwhile, nothing that was
// accepted is lost, and the queue accepts again when the disk works.
func TestFaultyDisk(t *testing.T) {
	t.Parallel()
	s, disk := storeOnFaultyDisk(t)
	s.config.MaxBytes = smallBlocks
	q := s.open(t, "a")
	var accepted []int
	n := 0
	try := func() error {
		r := numbered(n)
		r.Body = body(4 << 10) // some fit into a block
		err := acceptAsEndpoint(t, q, r)
		if err == nil {
			accepted = append(accepted, n)
		}
		n++
		return err
	}
	for _, test := range []struct {
		name  string
		fault faultydisk.Fault
		works bool // none may be refused
	}{
		{name: "a slow disk", fault: faultydisk.Slow(50 * time.Millisecond), works: true},
		{name: "a sync that fails", fault: faultydisk.Fault{Operations: faultydisk.Sync, Err: syscall.EIO, Once: true}},
		{name: "syncs that fail", fault: faultydisk.Fault{Operations: faultydisk.Sync, Err: syscall.EIO}},
		{name: "a write that fails", fault: faultydisk.Fault{Operations: faultydisk.Write, Err: syscall.EIO, Once: true}},
		{name: "writes that fail", fault: faultydisk.Fault{Operations: faultydisk.Write, Err: syscall.EIO}},
		{name: "a full disk", fault: faultydisk.Full()},
		{name: "a disk without inodes", fault: faultydisk.NoInodes()},
		{name: "a disk that becomes read-only", fault: faultydisk.ReadOnly()},
	} {
		disk.Set(test.fault)
		var err error
		whileFaulty(t, disk, "accepting", func() {
			for tries := 0; err == nil && tries < 12; tries++ {
				if test.fault.Once { // something else may have had it
					disk.Set(test.fault)
				}
				err = try()
			}
		})
		require.Positive(t, disk.Affected(), test.name)
		if test.works {
			require.NoError(t, err, test.name)
		} else {
			require.Error(t, err, test.name)
		}
		if !test.fault.Once {
			disk.Set(faultydisk.Fault{})
		}
		require.Eventually(t, func() bool { return try() == nil }, patience, time.Millisecond, test.name)
		t.Logf("%s: %v; %d of %d accepted", test.name, err, len(accepted), n)
		seen := drain(t, q, "a") // makes room, too
		for _, n := range accepted {
			require.Positive(t, seen[identity(n)], "%s: %d", test.name, n)
		}
		accepted = nil
	}
	require.NoError(t, q.Close())
	q = s.open(t, "a")
	require.Zero(t, q.Damage())
	requireWaiting(t, q, "a", 0)
}

// What cannot be read is delivered when it can.
func TestDiskCannotBeRead(t *testing.T) {
	t.Parallel()
	s, disk := storeOnFaultyDisk(t)
	s.config.MaxBytes = smallBlocks
	q := s.open(t, "a")
	for n := range 60 {
		accept(t, q, bulky(n))
	}
	require.NoError(t, q.Close())
	q = s.open(t, "a")
	r := impatient(t, q.NewReader("a"))
	disk.Set(faultydisk.Fault{Operations: faultydisk.Read, Err: syscall.EIO})
	taken := 0
	var err error
	for err == nil { // a block may be in memory
		if _, err = take(t.Context(), r); err == nil {
			taken++
		}
	}
	require.ErrorIs(t, err, ErrNoMore)
	require.Positive(t, disk.Affected())
	require.Less(t, taken, 60)
	whileFaulty(t, disk, "accepting", func() { err = acceptAsEndpoint(t, q, numbered(60)) })
	t.Logf("%d could be read; accepting meanwhile: %v", taken, err)
	disk.Set(faultydisk.Fault{})
	r.Close()
	require.Eventually(t, func() bool { return acceptAsEndpoint(t, q, numbered(61)) == nil }, patience, time.Millisecond)
	seen := drain(t, q, "a")
	for n := range 62 {
		require.True(t, seen[identity(n)] > 0 || n == 60 && err != nil, n)
	}
}

// While a disk hangs, everything that is asked of the queue is answered, the log
// says it, and a reload does not wait. What it had got is delivered afterwards.
func TestDiskHangs(t *testing.T) {
	t.Parallel()
	s, disk := storeOnFaultyDisk(t)
	var log testlog.Buffer
	s.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	q := s.open(t, "a")
	accept(t, q, numbered(0))

	disk.Set(faultydisk.Fault{Operations: faultydisk.Sync, Hang: true})
	whileFaulty(t, disk, "accepting", func() {
		var senders sync.WaitGroup
		for n := range 8 {
			senders.Go(func() { assert.Error(t, acceptAsEndpoint(t, q, numbered(n+1))) })
		}
		senders.Wait()
	})
	require.Positive(t, disk.Affected())
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "the disk does not answer") }, patience, time.Millisecond)
	whileFaulty(t, disk, "a reload", func() {
		assert.NoError(t, q.Reconcile(t.Context(), s.config))
		_, err := q.Use(t.Context(), []string{"a"})
		assert.Error(t, err)
	})
	whileFaulty(t, disk, "a check", func() { assert.ErrorIs(t, q.Check(t.Context()), ErrUnavailable) })
	whileFaulty(t, disk, "a table", func() {
		_, err := q.Table("things").Put(t.Context(), Key{"thing"}, nil)
		assert.Error(t, err)
	})
	require.Error(t, acceptAsEndpoint(t, q, numbered(9)))

	disk.Set(faultydisk.Fault{})
	require.Eventually(t, func() bool { return acceptAsEndpoint(t, q, numbered(10)) == nil }, patience, time.Millisecond)
	seen := drain(t, q, "a")
	require.Equal(t, 1, seen[identity(0)])
	require.Equal(t, 1, seen[identity(10)])
	require.NoError(t, q.Check(t.Context()))
}
