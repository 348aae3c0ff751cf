// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A queue directory that is removed, replaced or loses a part while the queue
// is open is made again, without a restart. What is accepted then is on the
// disk, and not in files that have no name any more.
func TestDirectoryRemoved(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(t *testing.T, dir string){
		"removed":         removeAll,
		"streams removed": func(t *testing.T, dir string) { removeAll(t, filepath.Join(dir, "jetstream")) },
		"renamed":         func(t *testing.T, dir string) { require.NoError(t, os.Rename(dir, dir+".old")) },
		"replaced": func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(dir, dir+".old"))
			require.NoError(t, os.Mkdir(dir, 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := embeddedStore(t)
			s.config.Embedded.Path = filepath.Join(t.TempDir(), "queue")
			q := s.open(t, "a")
			accept := func(n int) error {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				_, err := q.Accept(ctx, numbered(n), time.Minute)
				return err
			}
			require.Eventually(t, func() bool { return accept(1) == nil }, time.Minute, 10*time.Millisecond)
			remove(t, s.config.Embedded.Path)
			stored := filepath.Join(q.server.streams(), q.names.stream, "msgs")
			require.Eventually(t, func() bool {
				_, err := os.Stat(stored)
				return err == nil
			}, time.Minute, 10*time.Millisecond, "the queue writes into files without a name")
			require.Eventually(t, func() bool { return accept(2) == nil }, time.Minute, 10*time.Millisecond)
			require.NoError(t, q.Close())

			q = s.open(t, "a")
			require.Contains(t, drain(t, q, "a"), numbered(2).ID)
		})
	}
}

// removeAll removes a directory into which somebody writes.
func removeAll(t *testing.T, dir string) {
	t.Helper()
	require.Eventually(t, func() bool { return os.RemoveAll(dir) == nil }, time.Minute, time.Millisecond)
}
