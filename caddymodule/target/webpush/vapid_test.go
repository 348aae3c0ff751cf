// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webpush"
)

func public(ring webpush.Ring) []string {
	var all []string
	for _, key := range ring {
		all = append(all, key.Public())
	}
	return all
}

// ringOf is the ring of a Caddy that has just been started.
func ringOf(t *testing.T, storage certmagic.Storage) []string {
	t.Helper()
	ring, err := (&vapidKeys{storage: storage}).ring(t.Context())
	require.NoError(t, err)
	return public(ring)
}

func TestVAPIDKeyIsMadeOnce(t *testing.T) {
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	made := make(chan []string)
	for range 4 { // Caddys that share a storage and are started together
		go func() { made <- ringOf(t, storage) }()
	}
	first := <-made
	require.Len(t, first, 1)
	for range 3 {
		assert.Equal(t, first, <-made)
	}
	assert.Equal(t, first, ringOf(t, storage))
	info, err := os.Stat(filepath.Join(storage.Path, vapidFile))
	require.NoError(t, err)
	assert.Zero(t, info.Mode().Perm()&0o077, "others can read the private key")
}

func TestVAPIDRotation(t *testing.T) {
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	keys := &vapidKeys{storage: storage}
	first := ringOf(t, storage)[0]
	rotate := func(inUse ...string) []string {
		t.Helper()
		count := make(map[string]int)
		for _, key := range inUse {
			count[key] = 1
		}
		ring, err := keys.rotate(t.Context(), count)
		require.NoError(t, err)
		now, err := keys.ring(t.Context())
		require.NoError(t, err)
		assert.Equal(t, public(ring), public(now), "known at once")
		assert.Equal(t, public(ring), ringOf(t, storage), "and kept")
		return public(ring)
	}
	ring := rotate()
	assert.Equal(t, []string{ring[0], first}, ring, "pages have been given it, if nobody else")
	second := ring[0]
	ring = rotate(first)
	assert.Equal(t, []string{ring[0], second, first}, ring, "a device has it")
	third := ring[0]
	ring = rotate(first)
	assert.Equal(t, []string{ring[0], third, first}, ring, "nobody has the second any more")
	assert.Len(t, rotate(), 2)
}

// Another Caddy with the same storage learns of a rotation soon, without
// reading the storage for every message.
func TestVAPIDRotationElsewhere(t *testing.T) {
	storage := &countingStorage{Storage: &certmagic.FileStorage{Path: t.TempDir()}}
	synctest.Test(t, func(t *testing.T) {
		here, there := &vapidKeys{storage: storage}, &vapidKeys{storage: storage}
		before, err := here.ring(t.Context())
		require.NoError(t, err)
		after, err := there.rotate(t.Context(), nil)
		require.NoError(t, err)
		loads := storage.loads
		for range 1000 {
			ring, err := here.ring(t.Context())
			require.NoError(t, err)
			assert.Equal(t, public(before), public(ring))
		}
		assert.Equal(t, loads, storage.loads)
		time.Sleep(vapidFresh)
		ring, err := here.ring(t.Context())
		require.NoError(t, err)
		assert.Equal(t, public(after), public(ring))

		storage.broken = true
		time.Sleep(vapidFresh)
		ring, err = here.ring(t.Context())
		require.NoError(t, err, "what is known goes on to be used")
		assert.Equal(t, public(after), public(ring))
		_, err = here.rotate(t.Context(), nil)
		require.Error(t, err)
		_, err = (&vapidKeys{storage: storage}).ring(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute) // the storage looks after its locks a little longer
	})
}

// countingStorage counts reads, and can be broken.
type countingStorage struct {
	certmagic.Storage
	loads  int
	broken bool
}

func (s *countingStorage) Load(ctx context.Context, key string) ([]byte, error) {
	s.loads++
	if s.broken {
		return nil, errors.New("the storage is down")
	}
	return s.Storage.Load(ctx, key)
}

// What is there is never overwritten because it cannot be read: every device
// would have to subscribe again.
func TestVAPIDFileThatIsDamaged(t *testing.T) {
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	for _, text := range []string{"", "{", `{"keys":[]}`, `{"keys":[{"publicKey":"x","privateKey":"swordfish"}]}`} {
		require.NoError(t, storage.Store(t.Context(), vapidFile, []byte(text)))
		keys := &vapidKeys{storage: storage}
		_, err := keys.ring(t.Context())
		require.Error(t, err)
		assert.Contains(t, err.Error(), vapidFile)
		assert.NotContains(t, err.Error(), "swordfish")
		_, err = keys.rotate(t.Context(), nil)
		require.Error(t, err)
		left, err := storage.Load(t.Context(), vapidFile)
		require.NoError(t, err)
		assert.Equal(t, text, string(left))
	}
}
