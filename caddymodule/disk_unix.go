// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin || freebsd

package caddymodule

import "golang.org/x/sys/unix"

// freeBytes is how much Caddy may still write to the disk of a directory.
func freeBytes(dir string) (uint64, bool) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, false
	}
	return uint64(stat.Bavail) * uint64(stat.Bsize), true //nolint:unconvert // their types differ between systems
}
