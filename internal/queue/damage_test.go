// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// storeFiles are the files of the stream of accepted notifications.
func storeFiles(t *testing.T, s *testStore, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.config.Embedded.Path, "jetstream", "$G", "streams", DefaultPrefix, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, files, pattern)
	slices.Sort(files)
	return files
}

// halfDelivered leaves a closed queue of 100 records, of which "fast" has had
// the first half and "slow" none.
func halfDelivered(t *testing.T) *testStore {
	t.Helper()
	s := embeddedStore(t)
	q := s.open(t, "fast", "slow")
	fast := q.NewReader("fast")
	for n := range 100 {
		accept(t, q, numbered(n))
		if n < 50 {
			require.NoError(t, next(t, fast).Settle())
		}
	}
	require.NoError(t, q.Close())
	return s
}

// A crash while the settings of a stream or a target change can leave them and
// their checksum different; the notifications are all there nevertheless.
func TestDamagedSettings(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"meta.sum", "meta.inf", "obs/fast/meta.sum", "obs/slow/meta.sum", "obs/fast/meta.inf"} {
		t.Run(strings.ReplaceAll(pattern, "/", " "), func(t *testing.T) {
			s := halfDelivered(t)
			for _, file := range storeFiles(t, s, pattern) {
				require.NoError(t, os.WriteFile(file, []byte("damaged"), 0o600))
			}
			q := s.open(t, "fast", "slow")
			slow, fast := drain(t, q, "slow"), drain(t, q, "fast")
			for n := range 100 {
				require.Equal(t, 1, slow[identity(n)], n)
				if n >= 50 {
					require.Equal(t, 1, fast[identity(n)], n)
				}
			}
		})
	}
}

// A file that was being replaced when the machine crashed may be empty. What
// was delivered before may come again then, and nothing is missing.
func TestEmptyPosition(t *testing.T) {
	t.Parallel()
	s := halfDelivered(t)
	for _, file := range storeFiles(t, s, "obs/*/o.dat") {
		require.NoError(t, os.Truncate(file, 0))
	}
	q := s.open(t, "fast", "slow")
	slow, fast := drain(t, q, "slow"), drain(t, q, "fast")
	for n := range 100 {
		require.Positive(t, slow[identity(n)], n)
		require.True(t, n < 50 || fast[identity(n)] > 0, n)
	}
}

// What a crash of the machine cut off the end of the store costs the group
// that was cut, and nothing before it. With "sync always" that group was never
// acknowledged.
func TestTruncatedStore(t *testing.T) {
	t.Parallel()
	for _, cut := range []int64{1, 20, 60} {
		for _, index := range []string{"", "index.db"} {
			t.Run(fmt.Sprintf("%d bytes, lost %s", cut, index), func(t *testing.T) {
				s := embeddedStore(t)
				q := s.open(t, "a")
				for n := range 100 {
					accept(t, q, numbered(n))
				}
				require.NoError(t, q.Close())
				if index != "" {
					for _, file := range storeFiles(t, s, "msgs/"+index) {
						require.NoError(t, os.Remove(file))
					}
				}
				blocks := storeFiles(t, s, "msgs/*.blk")
				last := blocks[len(blocks)-1]
				info, err := os.Stat(last)
				require.NoError(t, err)
				require.NoError(t, os.Truncate(last, info.Size()-cut))

				q = s.open(t, "a")
				accept(t, q, numbered(100))
				seen := drain(t, q, "a")
				require.Equal(t, 1, seen[identity(100)], "what was accepted after the repair")
				delete(seen, identity(100))
				requireRange(t, seen, 0, 99)
			})
		}
	}
}
