// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package faultydisk

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each fault does what it says to those who use the disk, and nothing else. It
// ends when another one is set.
func TestFaults(t *testing.T) {
	d := New(t)
	path := filepath.Join(d.Dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()

	uses := []struct {
		operation Operation
		use       func() error
	}{
		{Write, func() error { _, err := f.WriteAt([]byte("new"), 0); return err }},
		{Sync, f.Sync},
		{Sync, func() error {
			directory, err := os.Open(d.Dir)
			require.NoError(t, err)
			defer directory.Close()
			return directory.Sync()
		}},
		{Create, func() error { return os.Mkdir(filepath.Join(d.Dir, "directory"), 0o700) }},
		{Create, func() error { return os.WriteFile(filepath.Join(d.Dir, "other"), nil, 0o600) }},
		{Change, func() error { return os.Remove(filepath.Join(d.Dir, "directory")) }},
		{Change, func() error { return os.Rename(filepath.Join(d.Dir, "other"), filepath.Join(d.Dir, "renamed")) }},
		{Change, func() error { return os.Link(filepath.Join(d.Dir, "renamed"), filepath.Join(d.Dir, "other")) }},
		{Change, func() error { return f.Truncate(3) }},
		{Change, func() error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				err = f.Close()
			}
			return err
		}},
		{Read, func() error { _, err := os.ReadFile(path); return err }},
	}
	for name, fault := range map[string]Fault{
		"full":         Full(),
		"no inodes":    NoInodes(),
		"read-only":    ReadOnly(),
		"cannot read":  {Operations: Read, Err: syscall.EIO},
		"cannot write": {Operations: Write, Err: syscall.EIO},
		"cannot sync":  {Operations: Sync, Err: syscall.EIO},
	} {
		for i, u := range uses {
			d.Set(fault)
			if u.operation&fault.Operations != 0 {
				require.ErrorIs(t, u.use(), fault.Err, "%s: %d", name, i)
				require.Positive(t, d.Affected(), "%s: %d", name, i)
				d.Set(Fault{})
			}
			require.NoError(t, u.use(), "%s: %d", name, i)
			d.Set(Fault{})
		}
		require.NoError(t, os.Remove(filepath.Join(d.Dir, "other")))
		require.NoError(t, os.Remove(filepath.Join(d.Dir, "renamed")))
	}

	d.Set(Fault{Operations: Sync, Err: syscall.EIO, Once: true})
	require.ErrorIs(t, f.Sync(), syscall.EIO)
	require.NoError(t, f.Sync())

	began := time.Now()
	d.Set(Slow(50 * time.Millisecond))
	require.NoError(t, f.Sync())
	require.GreaterOrEqual(t, time.Since(began), 50*time.Millisecond)

	d.Set(Fault{Operations: Sync, Hang: true})
	synced := make(chan error)
	go func() { synced <- f.Sync() }()
	require.Eventually(t, func() bool { return d.Affected() == 1 }, time.Minute, time.Millisecond)
	require.NoError(t, os.WriteFile(filepath.Join(d.Dir, "other"), []byte("more"), 0o600))
	select {
	case err := <-synced:
		t.Fatalf("the sync did not wait: %v", err)
	default:
	}
	d.Set(Fault{})
	require.NoError(t, <-synced)
}
