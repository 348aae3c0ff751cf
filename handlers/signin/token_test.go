// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	key = []byte("0123456789abcdef0123456789abcdef")
	now = time.Unix(1_800_000_000, 0)
)

func TestToken(t *testing.T) {
	s := newSession("jürgen@example.com", now)
	token := s.token(key, "/push/")
	got, err := parseToken(token, key, "/push/", now)
	require.NoError(t, err)
	require.Equal(t, s, got)

	_, err = parseToken(token, key, "/push", now)
	require.ErrorIs(t, err, errToken, "another site")
	_, err = parseToken(token, []byte("another key"), "/push/", now)
	require.ErrorIs(t, err, errToken)
	another := newSession("jürgen@example.com", now)
	require.NotEqual(t, s.id, another.id)
}

func TestForgedTokens(t *testing.T) {
	s := newSession("alice@example.com", now)
	token := s.token(key, "a")
	raw, err := base64.RawURLEncoding.DecodeString(token)
	require.NoError(t, err)
	for i := range raw {
		for bit := range 8 {
			forged := append([]byte(nil), raw...)
			forged[i] ^= 1 << bit
			_, err := parseToken(base64.RawURLEncoding.EncodeToString(forged), key, "a", now)
			require.ErrorIs(t, err, errToken, "byte %d bit %d", i, bit)
		}
	}
	for i := range token {
		_, err := parseToken(token[:i], key, "a", now)
		require.ErrorIs(t, err, errToken, "%d characters", i)
	}
	for _, forged := range []string{"", ".", token + "A", token + "=", token + "\n", " " + token, string(make([]byte, 1<<20))} {
		_, err := parseToken(forged, key, "a", now)
		require.ErrorIs(t, err, errToken)
	}
	// Signed with the key, and yet nothing that we would have written.
	for _, payload := range [][]byte{{}, {tokenVersion}, make([]byte, fixedPayload), append([]byte{tokenVersion}, make([]byte, fixedPayload-1)...)} {
		_, err := parseToken(base64.RawURLEncoding.EncodeToString(append(seal(key, "a", payload), payload...)), key, "a", now)
		require.ErrorIs(t, err, errToken)
	}
}

func TestTokenExpires(t *testing.T) {
	s := newSession("alice@example.com", now)
	valid := func(s session, at time.Time) bool {
		_, err := parseToken(s.token(key, "a"), key, "a", at)
		return err == nil
	}
	require.True(t, valid(s, now.Add(lifetime-time.Second)))
	require.False(t, valid(s, now.Add(lifetime)))
	require.True(t, valid(s, now.Add(-clockSkew)), "made by another Caddy, whose clock is ahead")
	require.False(t, valid(s, now.Add(-clockSkew-time.Second)))

	renewed := s
	renewed.renewed = now.Add(maxLifetime - time.Hour)
	require.True(t, valid(renewed, now.Add(maxLifetime-time.Second)))
	require.False(t, valid(renewed, now.Add(maxLifetime)), "renewed as it may be")
	require.Equal(t, now.Add(lifetime+clockSkew), s.latest(now))
	require.Equal(t, now.Add(maxLifetime), s.latest(now.Add(maxLifetime-time.Hour)))
}

func FuzzParseToken(f *testing.F) {
	s := newSession("alice@example.com", now)
	s.id = [16]byte{1} // the same in each process that fuzzes
	f.Add(s.token(key, "a"))
	f.Fuzz(func(t *testing.T, token string) {
		if got, err := parseToken(token, key, "a", now); err == nil && got != s {
			t.Fatalf("forged: %+v", got)
		}
	})
}
