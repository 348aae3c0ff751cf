// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package faultydisk

import (
	"syscall"
	"time"
)

// Operation is what somebody does with a disk.
type Operation int

const (
	// Read reads from a file.
	Read Operation = 1 << iota
	// Write writes to a file.
	Write
	// Sync syncs a file or a directory.
	Sync
	// Create makes a file or a directory.
	Create
	// Change is everything else that a disk refuses that is read-only: to
	// open a file for writing, truncate, rename or remove it.
	Change
)

// Fault is what is wrong with a disk. The zero value is a disk that works.
type Fault struct {
	// Operations are those that have the fault.
	Operations Operation
	// Once lets only the first of them have it.
	Once bool
	// Delay is how much longer each takes.
	Delay time.Duration
	// Hang makes them wait until the disk has another fault, or three minutes.
	Hang bool
	// Err, if it is not 0, is the error that they fail with.
	Err syscall.Errno
}

// Slow is a disk on which each sync takes that much longer.
func Slow(by time.Duration) Fault { return Fault{Operations: Sync, Delay: by} }

// Full is a disk without room.
func Full() Fault { return Fault{Operations: Write | Create, Err: syscall.ENOSPC} }

// NoInodes is a disk that takes no further files.
func NoInodes() Fault { return Fault{Operations: Create, Err: syscall.ENOSPC} }

// ReadOnly is a disk that became read-only, as after an error.
func ReadOnly() Fault { return Fault{Operations: Write | Create | Change, Err: syscall.EROFS} }
