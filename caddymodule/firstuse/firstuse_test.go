// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package firstuse

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOf(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		storage := &certmagic.FileStorage{Path: dir}
		first := time.Now().UTC()
		for range 3 {
			used, err := Of(t.Context(), storage, "apns", "ABC123DEFG")
			require.NoError(t, err)
			require.Equal(t, first, used, "it stays")
			time.Sleep(24 * time.Hour)
		}
		used, err := Of(t.Context(), storage, "apns", "another/../key")
		require.NoError(t, err)
		require.Equal(t, first.Add(72*time.Hour), used)
		used, err = Of(t.Context(), storage, "fcm", "ABC123DEFG")
		require.NoError(t, err)
		require.Equal(t, first.Add(72*time.Hour), used, "of another service")
	})
	names, err := filepath.Glob(filepath.Join(dir, "dovecot_push/keys/*/*"))
	require.NoError(t, err)
	assert.Len(t, names, 3, "none is elsewhere: %q", names)

	require.NoError(t, os.WriteFile(names[0], []byte("{"), 0o600))
	_, err = Of(t.Context(), &certmagic.FileStorage{Path: dir}, "apns", "ABC123DEFG")
	assert.ErrorContains(t, err, "in Caddy's storage")
	_, err = Of(t.Context(), &certmagic.FileStorage{Path: names[0]}, "apns", "ABC123DEFG")
	assert.ErrorContains(t, err, "Caddy's storage: ", "a storage that is a file")
}
