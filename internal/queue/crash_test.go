// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A process that is killed under load, again and again on the same directory,
// loses nothing that it acknowledged.
func TestKilled(t *testing.T) {
	t.Parallel()
	const rounds = 10
	s := embeddedStore(t)
	delivered := make(map[int]bool)
	var accepted []int
	for round := range rounds {
		numbers, fast := runUntilKilled(t, child(t, "load", s.config.Embedded.Path, round*1_000_000),
			50*time.Millisecond+rand.N(250*time.Millisecond))
		require.NotEmpty(t, numbers)
		accepted = append(accepted, numbers...)
		for _, n := range fast {
			delivered[n] = true
		}
	}

	s.config.MaxBytes = 64 << 20
	q := s.open(t, "slow", "fast")
	require.Zero(t, q.Damage(), "what a process leaves that is killed is not damaged")
	slow, fast := drain(t, q, "slow"), drain(t, q, "fast")
	for _, n := range accepted {
		assert.Equal(t, 1, slow[identity(n)], "slow target, %d", n)
		assert.True(t, delivered[n] || fast[identity(n)] > 0, "fast target, %d", n)
	}
	t.Logf("%d accepted in %d rounds, %d of them delivered to one target before; in the queue were %d", len(accepted), rounds, len(delivered), len(slow))
	requireStats(t, q, 0, map[string]TargetStats{"slow": {}, "fast": {}})
}

// A directory belongs to one process.
func TestLocked(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	q := s.open(t)
	out, err := child(t, "open", s.config.Embedded.Path, 0).Output()
	require.Error(t, err)
	require.Contains(t, string(out), ErrLocked.Error())
	require.Contains(t, string(out), s.config.Embedded.Path)
	require.Contains(t, string(out), "is another Caddy running")

	require.NoError(t, q.Close())
	out, err = child(t, "open", s.config.Embedded.Path, 0).Output()
	require.NoError(t, err, "%s", out)
	s.open(t)
}

func TestUnwritableDirectory(t *testing.T) {
	s := embeddedStore(t)
	file := filepath.Join(s.config.Embedded.Path, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	s.config.Embedded.Path = filepath.Join(file, "queue")
	_, err := Open(t.Context(), s.config)
	require.ErrorContains(t, err, "making the queue directory")
	require.ErrorContains(t, err, file)
}
