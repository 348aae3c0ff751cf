// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// The files are what this version stores of a session that has ended, and of all
// that a user had. Earlier versions wrote them.
func TestStoredRevocations(t *testing.T) {
	id := SessionID{0x01, 0x23, 0xab}
	r := &Revocations{users: make(map[string]*endedSessions)}
	for file, c := range map[string]struct {
		key   queue.Key
		value revocation
	}{
		"session-1":  {queue.Key{"alice@example.com", "0123ab" + strings.Repeat("00", len(id)-3)}, revocation{Created: 1795967778, Until: 1798559778}},
		"sessions-1": {queue.Key{"alice@example.com"}, revocation{All: 1795967770, Until: 1798559770}},
	} {
		stored, err := os.ReadFile("testdata/" + file)
		require.NoError(t, err)
		require.Equal(t, string(stored), string(c.value.value()), "what is stored changed")
		r.apply(queue.Entry{Key: c.key, Value: stored})
	}
	require.Equal(t, queue.Key{"alice@example.com", "0123ab" + strings.Repeat("00", len(id)-3)}, sessionKey("alice@example.com", id))
	require.Equal(t, map[string]*endedSessions{"alice@example.com": {
		sessions: map[SessionID]revocation{id: {Created: 1795967778, Until: 1798559778}},
		all:      revocation{All: 1795967770, Until: 1798559770},
	}}, r.users)
}
