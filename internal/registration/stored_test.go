// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The files are what this version stores in the table. Members may be added that
// are left out while they are zero. Other changes would make what earlier
// versions stored unreadable.
func TestStoredRecord(t *testing.T) {
	at := time.Date(2026, 11, 29, 16, 16, 18, 0, time.UTC)
	requireStored(t, "record-1", record{
		ByHand: byHandUnregistered, Subscribed: true, Until: at.Add(123456789), SignedIn: true,
		State: Failed, Reason: ReasonTemporary, Since: at,
	})
	requireStored(t, "record-1-short", record{State: Registered, Since: at})
	requireStored(t, "note-2", passNote{Finished: at, Settings: "all"})
	require.Equal(t, []string{"user", "alice@example.com"}, []string(userKey("alice@example.com")))
	require.Equal(t, []string{"pass"}, []string(leaseKey))
	require.Equal(t,
		[]State{"wanted", "registered", "conflict", "failed", "unknown_user", "unregistered"},
		[]State{Wanted, Registered, Conflict, Failed, UnknownUser, Unregistered})
	require.Equal(t, []string{"registered", "unregistered"}, []string{byHandRegistered, byHandUnregistered})
}

// requireStored requires that a file in testdata is how value is stored.
func requireStored[T any](t *testing.T, file string, value T) {
	t.Helper()
	stored, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	var got T
	require.NoError(t, json.Unmarshal(stored, &got))
	require.Equal(t, value, got)
	now, err := json.Marshal(value)
	require.NoError(t, err)
	require.Equal(t, string(stored), string(now), "what is stored changed: earlier versions wrote the file")
}
