// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package testlog

import (
	"bytes"
	"sync"
)

// Buffer is a log that a test reads while it is written.
type Buffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write appends to the log.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

// String is what was logged until now.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
