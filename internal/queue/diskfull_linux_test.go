// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// smallDisk mounts a file system of that many bytes.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a small tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("cannot mount a tmpfs here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// ballast takes what room the disk has left, but for some bytes.
func ballast(t *testing.T, disk string, leave int) (remove func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(disk, "ballast"))
	require.NoError(t, err)
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	size, err := f.Seek(0, 1)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size-int64(leave)))
	require.NoError(t, f.Close())
	return func() { require.NoError(t, os.Remove(f.Name())) }
}

// A disk that fills up, again and again, costs nothing that was acknowledged.
// What does not fit fails soon, and the queue comes back automatically when
// there is room.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "size=24m")
	s := embeddedStore(t)
	s.config.Embedded.Path = filepath.Join(disk, "queue")
	q := s.open(t, "slow", "fast")

	var (
		senders  sync.WaitGroup
		last     atomic.Int64
		accepted sync.Map // number: true
		stored   atomic.Int64
		failed   atomic.Int64
	)
	stop := make(chan struct{})
	for range 8 {
		senders.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := int(last.Add(1))
				r := numbered(n)
				r.Body = append(r.Body, body(n%3*4<<10)...)
				_, err := q.Accept(context.Background(), r, time.Minute)
				if err == nil {
					accepted.Store(r.ID, true)
					stored.Add(1)
				} else {
					failed.Add(1)
					assert.True(t, errors.Is(err, ErrFull) || errors.Is(err, ErrUnavailable), "%v", err)
					assert.NotErrorIs(t, err, context.DeadlineExceeded, "nobody waited for a store that answers nothing")
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	var (
		reader  sync.WaitGroup
		fast    sync.Map // number: true
		done    = make(chan struct{})
		missing = func() (missing int) {
			accepted.Range(func(id, _ any) bool {
				if _, ok := fast.Load(id); !ok {
					missing++
				}
				return true
			})
			return missing
		}
	)
	reader.Go(func() {
		for r := q.NewReader("fast"); ; {
			g, err := take(t.Context(), r)
			if err != nil {
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
				}
				continue
			}
			for _, r := range g.Records {
				fast.Store(r.ID, true)
			}
			_ = g.Ack()
		}
	})
	storesMore := func() {
		t.Helper()
		before := stored.Load()
		require.Eventually(t, func() bool { return stored.Load() > before+20 }, patience, time.Millisecond)
	}
	for _, leave := range []int{64 << 10, 4 << 10, 0} {
		storesMore()
		before := failed.Load()
		remove := ballast(t, disk, leave)
		require.Eventually(t, func() bool { return failed.Load() > before+20 }, patience, 10*time.Millisecond)
		time.Sleep(time.Second) // repairLoop tries, in vain
		remove()
		require.Eventually(t, q.isReady, patience, 10*time.Millisecond)
	}
	storesMore()
	close(stop)
	senders.Wait()
	// What was on its way when the store was reopened comes again.
	assert.Eventually(t, func() bool { return missing() == 0 }, 2*AckWait, 10*time.Millisecond, "for the fast target")
	close(done)
	reader.Wait()

	slow := drain(t, q, "slow")
	count := 0
	accepted.Range(func(id, _ any) bool {
		count++
		_, ok := slow[id.(notification.Identity)]
		assert.True(t, ok, "for the slow target: %v", id)
		return true
	})
	require.NoFileExists(t, filepath.Join(s.config.Embedded.Path, "probe"))
	t.Logf("%d accepted, %d failed; the slow target got %d", count, failed.Load(), len(slow))
	require.Greater(t, count, 50)
	require.NoError(t, q.Close())
	q = s.open(t, "slow", "fast")
	requireWaiting(t, q, "slow", 0)
}

// A directory that cannot be written is an error that says so, and where.
func TestReadOnlyDisk(t *testing.T) {
	disk := smallDisk(t, "size=1m,ro")
	s := embeddedStore(t)
	s.config.Embedded.Path = filepath.Join(disk, "queue")
	_, err := Open(t.Context(), s.config)
	require.ErrorIs(t, err, syscall.EROFS)
	require.ErrorContains(t, err, s.config.Embedded.Path)
}

// So is one that was a queue's before, such as after an error of the disk.
func TestDiskTurnedReadOnly(t *testing.T) {
	disk := smallDisk(t, "size=8m")
	s := embeddedStore(t)
	s.config.Embedded.Path = filepath.Join(disk, "queue")
	q := s.open(t, "a")
	accept(t, q, numbered(0))
	require.NoError(t, q.Close())
	require.NoError(t, syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	_, err := Open(t.Context(), s.config)
	require.ErrorIs(t, err, syscall.EROFS)
	require.ErrorContains(t, err, s.config.Embedded.Path)
	require.NoError(t, syscall.Mount("", disk, "", syscall.MS_REMOUNT, ""))
	q = s.open(t, "a")
	requireRange(t, drain(t, q, "a"), 0, 1)
}

// A file that cannot be opened, as one of another user, is named. Nothing is
// touched, and when it can be opened again everything goes on where it was.
func TestFileOfAnotherUser(t *testing.T) {
	disk := smallDisk(t, "size=8m") // permissions do not stop root, mounts do
	s := embeddedStore(t)
	s.config.Embedded.Path = filepath.Join(disk, "queue")
	q := s.open(t, "a", "b")
	acceptRange(t, q, 0, 1)
	require.NoError(t, next(t, q.NewReader("a")).Ack())
	require.NoError(t, q.Close())
	for _, pattern := range []string{"msgs/*.blk", "msgs/index.db", "obs/a/o.dat", "meta.inf"} {
		file := storeFiles(t, s, pattern)[0]
		require.NoError(t, syscall.Mount(file, file, "", syscall.MS_BIND, ""))
		require.NoError(t, syscall.Mount("", file, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		_, err := Open(t.Context(), s.config)
		require.ErrorContains(t, err, file)
		require.NoError(t, syscall.Unmount(file, 0))
	}
	q = s.open(t, "a", "b")
	requireWaiting(t, q, "a", 0)
	requireRange(t, drain(t, q, "b"), 0, 1)
}

// So is one in which the store cannot be made: it may be another user's.
func TestStoreThatCannotBeMade(t *testing.T) {
	s := embeddedStore(t)
	require.NoError(t, os.MkdirAll(s.config.Embedded.Path, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(s.config.Embedded.Path, "jetstream"), nil, 0o600))
	_, err := Open(t.Context(), s.config)
	require.ErrorContains(t, err, s.config.Embedded.Path)
}

// A directory can be there and still not be written below.
func TestDiskWithoutRoom(t *testing.T) {
	disk := smallDisk(t, "size=64k")
	s := embeddedStore(t)
	s.config.Embedded.Path = filepath.Join(disk, "queue")
	require.NoError(t, os.Mkdir(s.config.Embedded.Path, 0o700))
	ballast(t, disk, 0)
	_, err := Open(t.Context(), s.config)
	require.Error(t, err)
	t.Log(err)
}
