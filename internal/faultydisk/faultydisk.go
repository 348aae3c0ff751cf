// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package faultydisk gives tests and benchmarks a disk that is slow or fails.
//
// The disk is a FUSE file system that passes everything on to a directory, but
// for what its [Fault] says, which can be changed while the disk is in use.
//
// A process of its own, which is the same program started again, serves the
// disk: a process that hangs in its own file system cannot be killed.
package faultydisk

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// Disk is a mounted file system. It is for one goroutine at a time, other than
// what is in it.
type Disk struct {
	// Dir is where it is mounted.
	Dir string

	server  *exec.Cmd
	orders  io.WriteCloser
	answers *bufio.Scanner
}

// Mount mounts a disk on a directory, which passes everything on to the
// directory backing. It needs root and /dev/fuse.
func Mount(dir, backing string, fault Fault) (*Disk, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d := &Disk{Dir: dir, server: exec.Command(self)}
	d.server.Env = append(os.Environ(), serveOn+"="+dir, serveFrom+"="+backing)
	d.server.Stderr = os.Stderr
	answers, err := d.server.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if d.orders, err = d.server.StdinPipe(); err != nil {
		return nil, err
	}
	if err := d.server.Start(); err != nil {
		return nil, err
	}
	d.answers = bufio.NewScanner(answers)
	if _, err = d.ask(order{Fault: &fault}); err != nil {
		return nil, errors.Join(fmt.Errorf("mounting a disk on %s: %w", dir, err), d.Unmount())
	}
	return d, nil
}

// New mounts a disk without a fault, until the test ends. It skips the test
// where that cannot be done.
func New(t testing.TB) *Disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a file system of its own")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("needs /dev/fuse")
	}
	backing := t.TempDir()
	d, err := Mount(t.TempDir(), backing, Fault{})
	if err != nil {
		t.Skipf("cannot mount a FUSE file system here: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Errorf("unmounting the disk: %v", err)
		}
	})
	return d
}

// Set replaces the fault of the disk. What hangs goes on. It panics if nobody
// serves the disk any more.
func (d *Disk) Set(fault Fault) {
	if _, err := d.ask(order{Fault: &fault}); err != nil {
		panic(err)
	}
}

// Affected returns how many operations had the fault since it was set.
func (d *Disk) Affected() int {
	n, err := d.ask(order{})
	if err != nil {
		panic(err)
	}
	return n
}

// Unmount ends the disk. What somebody still does with it fails.
func (d *Disk) Unmount() error {
	return errors.Join(d.orders.Close(), d.server.Wait())
}

func (d *Disk) ask(o order) (affected int, err error) {
	if err := json.NewEncoder(d.orders).Encode(o); err != nil {
		return 0, err
	}
	if !d.answers.Scan() {
		return 0, fmt.Errorf("nobody serves the disk: %w", errors.Join(d.answers.Err(), io.ErrUnexpectedEOF))
	}
	_, err = fmt.Sscan(d.answers.Text(), &affected)
	return affected, err
}
