// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package faultydisk

import (
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	serveOn   = "FAULTYDISK_DIR"     // where the disk is mounted
	serveFrom = "FAULTYDISK_BACKING" // the directory behind it
)

// longestHang is how long an operation hangs at most: a process that waits for
// one cannot be killed, and only its end would end the disk.
const longestHang = 3 * time.Minute

func init() {
	dir := os.Getenv(serveOn)
	if dir == "" {
		return
	}
	if err := serve(dir, os.Getenv(serveFrom)); err != nil {
		fmt.Fprintln(os.Stderr, "faultydisk:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// order is what the server is asked: to have another fault, or none to tell how
// many operations had the one it has, which it answers in any case.
type order struct{ Fault *Fault }

// serve serves the disk until nobody gives orders any more.
func serve(dir, backing string) error {
	root, err := fs.NewLoopbackRoot(backing)
	if err != nil {
		return err
	}
	s := new(state)
	s.set(Fault{})
	_, err = fs.Mount(dir, s.wrap(root), &fs.Options{MountOptions: fuse.MountOptions{
		Name: "faultydisk", FsName: backing, DirectMountStrict: true, DisableXAttrs: true,
	}})
	if err != nil {
		return err
	}
	orders := json.NewDecoder(os.Stdin)
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			s.set(Fault{})
			return syscall.Unmount(dir, syscall.MNT_FORCE|syscall.MNT_DETACH)
		}
		if o.Fault != nil {
			s.set(*o.Fault)
		}
		fmt.Println(s.current.Load().affected.Load())
	}
}

// state is what the disk is like now.
type state struct {
	current atomic.Pointer[current]
}

type current struct {
	fault    Fault
	affected atomic.Int64
	over     chan struct{} // closed when there is another fault
}

func (s *state) set(fault Fault) {
	if before := s.current.Swap(&current{fault: fault, over: make(chan struct{})}); before != nil {
		close(before.over)
	}
}

// fails is called before each operation, and returns its error.
func (s *state) fails(op Operation) syscall.Errno {
	c := s.current.Load()
	if op&c.fault.Operations == 0 || c.affected.Add(1) > 1 && c.fault.Once {
		return fs.OK
	}
	if c.fault.Hang {
		select {
		case <-c.over:
		case <-time.After(longestHang):
		}
	}
	time.Sleep(c.fault.Delay)
	return c.fault.Err
}
