// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package powercut gives tests a disk that can lose its power.
//
// The disk is a file system of its own in a file, mounted in a mount namespace
// that only the processes of the test see. [Disk.Cut] ends it as a power cut
// does: what did not reach the disk is gone, and what did is found again after
// [Disk.Restore]. A process that is killed is no power cut: the operating
// system still writes what it had got from it. install.sh installs the Debian
// packages that make file systems.
package powercut

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

const (
	// shutdown is FS_IOC_SHUTDOWN, which ext4 and xfs know.
	shutdown = 0x8004587d
	// noLogFlush: what is in memory is lost, the journal included.
	noLogFlush = 2

	size       = 300 << 20 // the least that xfs takes
	endTimeout = 30 * time.Second
)

// Disk is a file system that can lose its power.
type Disk struct {
	// Dir is where it is mounted, for the functions that [Disk.Do] calls and
	// the processes they start.
	Dir string

	image string
	calls chan func()
}

// New makes a disk with the given file system, such as "ext4", which ends with
// the test. It skips the test where that cannot be done.
func New(t testing.TB, fileSystem string) *Disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a file system of its own")
	}
	mkfs, err := exec.LookPath("mkfs." + fileSystem)
	if err != nil {
		t.Skipf("needs mkfs.%s", fileSystem)
	}
	d := &Disk{Dir: t.TempDir(), image: filepath.Join(t.TempDir(), "disk"), calls: make(chan func())}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", d.image).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", mkfs, err, out)
	}
	private := make(chan error)
	go d.serve(private)
	if err := <-private; err != nil {
		t.Skipf("cannot make a mount namespace here: %v", err)
	}
	t.Cleanup(func() {
		d.Do(func() { _ = syscall.Unmount(d.Dir, syscall.MNT_DETACH) })
		close(d.calls)
	})
	d.Do(func() { err = d.mount() })
	if err != nil {
		t.Skipf("cannot mount a file system here: %v", err)
	}
	return d
}

// serve is where everything that sees the disk happens: the namespace belongs
// to its thread, which ends with it.
func (d *Disk) serve(private chan<- error) {
	runtime.LockOSThread()
	err := syscall.Unshare(syscall.CLONE_NEWNS)
	if err == nil {
		err = syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	}
	private <- err
	for call := range d.calls {
		call()
	}
}

// Do calls f where the disk can be seen. Processes that f starts see it too.
func (d *Disk) Do(f func()) {
	done := make(chan struct{})
	d.calls <- func() {
		defer close(done)
		f()
	}
	<-done
}

func (d *Disk) mount() error {
	// The journal is written often, so that much reaches the disk that nobody
	// asked to be synced: the worst case for what has to be in order.
	out, err := exec.Command("mount", "-o", "loop,noatime", d.image, d.Dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// Cut takes the power away. Every access to the disk fails from then on.
func (d *Disk) Cut(t testing.TB) {
	t.Helper()
	var err error
	d.Do(func() {
		var dir *os.File
		if dir, err = os.Open(d.Dir); err != nil {
			return
		}
		defer dir.Close()
		flags := uint32(noLogFlush)
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, dir.Fd(), shutdown, uintptr(unsafe.Pointer(&flags)))
		if errno != 0 {
			err = errno
		}
	})
	if err != nil {
		t.Fatalf("cutting the power of the disk: %v", err)
	}
}

// Restore brings back what reached the disk. The processes that had files
// open there must have ended.
func (d *Disk) Restore(t testing.TB) {
	t.Helper()
	var err error
	d.Do(func() {
		for deadline := time.Now().Add(endTimeout); ; time.Sleep(10 * time.Millisecond) {
			err = syscall.Unmount(d.Dir, 0)
			if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
				break
			}
		}
		if err == nil {
			err = d.mount()
		}
	})
	if err != nil {
		t.Fatalf("mounting the disk again: %v", err)
	}
}
