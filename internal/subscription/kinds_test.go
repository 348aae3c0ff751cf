// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription/subscriptiontest"
)

// What a table had when there was one kind of address is read as it is, and is
// written the same way: instances of both versions may share the table.
func TestStoredBefore(t *testing.T) {
	for _, file := range []string{"webpush", "apps"} {
		text, err := os.ReadFile("testdata/" + file + ".json")
		require.NoError(t, err)
		_, list, err := decode(queue.Entry{Key: queue.Key{"alice"}, Value: text})
		require.NoError(t, err)
		again, err := json.MarshalIndent(list, "", "  ")
		require.NoError(t, err)
		assert.Equal(t, strings.TrimSpace(string(text)), string(again), file)
		for i := range list {
			require.NoError(t, list[i].check())
		}
	}

	text, err := os.ReadFile("testdata/webpush.json")
	require.NoError(t, err)
	_, list, err := decode(queue.Entry{Key: queue.Key{"alice"}, Value: text})
	require.NoError(t, err)
	require.Len(t, list, 2)
	phone, laptop := list[0], list[1]
	assert.True(t, phone.Is(WebPush))
	assert.True(t, phone.Confirmed())
	assert.Equal(t, "push.example.net", phone.Host())
	assert.Len(t, phone.Keys.Auth, authSize)
	assert.Equal(t, "BPublic", phone.ServerKey)
	assert.Equal(t, &Delivery{time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC), Delivered}, phone.Last)
	assert.False(t, laptop.Confirmed())
	assert.Equal(t, time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), laptop.PushServiceExpiry)
}

// A user's devices count together, whatever their kinds, and the same token is
// another device for another service.
func TestKindsShareTheLimit(t *testing.T) {
	s := startStore(t, subscriptiontest.NewMemory(), nil)
	for i := range MaxPerUser {
		d := newDevice(t, "Phone")
		switch i % 3 {
		case 0:
			d.Kind, d.Address = APNs, Address{Token: "same", App: "com.example.mail", Environment: strings.Repeat("x", i)}
			d.Token += strings.Repeat("0", i)
		case 1:
			d.Kind, d.Address = FCM, Address{Token: "same" + strings.Repeat("0", i-1), App: "project"}
		}
		_, created, err := s.Add(t.Context(), "alice", d)
		require.NoError(t, err)
		require.True(t, created)
	}
	for _, d := range []Device{
		newDevice(t, "one more"), {Kind: APNs, Name: "one more", Address: Address{Token: "other"}}, {Kind: FCM, Name: "one more", Address: Address{Token: "other"}},
	} {
		_, _, err := s.Add(t.Context(), "alice", d)
		require.ErrorIs(t, err, ErrTooMany)
	}
	_, created, err := s.Add(t.Context(), "alice", Device{Kind: FCM, Name: "Again", Address: Address{Token: "same", App: "project"}})
	require.NoError(t, err)
	assert.False(t, created, "it is known by its token")
}

// An app that its device gives to another user belongs to the last of them.
func TestTokenOfAnotherUser(t *testing.T) {
	s := startStore(t, subscriptiontest.NewMemory(), nil)
	d := Device{Kind: APNs, Name: "Phone", Address: Address{Token: "00ff", App: "com.example.mail"}}
	confirmed(t, s, "alice", d)
	other := d
	other.Kind = FCM
	confirmed(t, s, "alice", other)
	confirmed(t, s, "bob", d)
	list, err := s.Of("alice")
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Equal(t, FCM, list[0].Kind)
	confirmed(t, s, "bob", newDevice(t, "Laptop"))
	_, _, err = s.Add(t.Context(), "bob", newDevice(t, "not confirmed"))
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"webpush": 1, "apns": 1, "fcm": 1}, s.CountKinds())
}

func TestAddressesThatAreNone(t *testing.T) {
	s := startStore(t, subscriptiontest.NewMemory(), nil)
	for field, to := range map[string]Address{
		"endpoint":    {},
		"token":       {Endpoint: "https://push.example.net/x", Token: "00ff"},
		"app":         {Token: "00ff", App: strings.Repeat("a", MaxApp+1)},
		"environment": {Token: "00ff", Environment: "a\nb"},
		"keys.auth":   {Token: "00ff", Keys: Keys{P256DH: newKeys(t).P256DH}},
		"keys.p256dh": {Token: "00ff", Keys: Keys{Auth: newKeys(t).Auth}},
	} {
		_, _, err := s.Add(t.Context(), "alice", Device{Kind: APNs, Name: "Phone", Address: to})
		var wrong *FieldError
		require.ErrorAs(t, err, &wrong)
		assert.Equal(t, field, wrong.Field)
	}
	for _, token := range []string{strings.Repeat("x", MaxToken+1), "a b\x00"} {
		_, _, err := s.Add(t.Context(), "alice", Device{Kind: FCM, Name: "Phone", Address: Address{Token: token}})
		assert.ErrorContains(t, err, "token")
	}
}
