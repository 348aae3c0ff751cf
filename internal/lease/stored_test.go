// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The files are what each version stores. The first one had what is now in the
// note beside the rest; that is not read any more, so that the next one to hold the
// lease begins without a note.
func TestStoredEntry(t *testing.T) {
	type note struct {
		Finished time.Time `json:"finished"`
		Settings string    `json:"settings"`
	}
	want := entry[note]{Owner: "owner", Held: true, Renewals: 3, Note: note{time.Date(2026, 11, 29, 16, 16, 18, 0, time.UTC), "all"}}
	for file, want := range map[string]entry[note]{
		"entry-1": {Owner: "process/owner", Held: true, Renewals: 3},
		"entry-2": want,
	} {
		stored, err := os.ReadFile("testdata/" + file)
		require.NoError(t, err)
		var got entry[note]
		require.NoError(t, json.Unmarshal(stored, &got), file)
		require.Equal(t, want, got, file)
	}
	now, err := json.Marshal(want)
	require.NoError(t, err)
	stored, err := os.ReadFile("testdata/entry-2")
	require.NoError(t, err)
	require.Equal(t, string(stored), string(now), "what is stored changed: add a file, and leave those that exist")
}
