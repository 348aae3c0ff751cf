// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"os"
	"sync"
)

// fileIdentities notices files and directories that were removed or replaced
// while they are in use. The embedded server does not: it goes on writing into
// those that it has open, and what it acknowledges is gone with the process.
type fileIdentities struct {
	mu    sync.Mutex
	known map[string]os.FileInfo
}

// reset begins again, for files that are opened now.
func (f *fileIdentities) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known = make(map[string]os.FileInfo)
}

// same reports whether path is the file that it was at the first call. One that
// was never there is.
func (f *fileIdentities) same(path string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.known[path]
	now, err := os.Stat(path)
	if before == nil {
		if err == nil {
			f.known[path] = now
		}
		return true
	}
	return err == nil && os.SameFile(before, now)
}
