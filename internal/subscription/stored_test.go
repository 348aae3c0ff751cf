// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// The file is what this version stores for a user. Members may be added that are
// left out while they are zero. Other changes would make what earlier versions
// stored unreadable.
func TestStoredSubscriptions(t *testing.T) {
	at := time.Date(2026, 11, 29, 16, 16, 18, 123456789, time.UTC)
	want := []Subscription{
		{
			ID: "5f0c", Kind: "other", Name: "Phone", DeviceClientID: "client", Endpoint: "https://push.example.com/1",
			Keys:      Keys{P256DH: bytes.Repeat([]byte{4}, 65), Auth: bytes.Repeat([]byte{5}, 16)},
			ServerKey: "server key", VerificationCode: "code", ConfirmedAt: at, Created: at, Expires: at.AddDate(0, 2, 0),
			PushServiceExpiry: at.AddDate(0, 1, 0), Last: &Delivery{Time: at, Outcome: "delivered"},
		},
		{ID: "60aa", Name: "", Endpoint: "https://push.example.com/2", Keys: Keys{P256DH: Base64{4}, Auth: Base64{5}}, Created: at, Expires: at},
	}
	stored, err := os.ReadFile("testdata/subscriptions-1")
	require.NoError(t, err)
	user, got, err := decode(queue.Entry{Key: queue.Key{"alice@example.com"}, Value: stored})
	require.NoError(t, err)
	require.Equal(t, "alice@example.com", user)
	require.Equal(t, want, got)
	require.True(t, got[1].Is(WebPush), "the kind was left out before there were others")
	now, err := json.Marshal(want)
	require.NoError(t, err)
	require.Equal(t, string(stored), string(now), "what is stored changed: earlier versions wrote the file")
}
