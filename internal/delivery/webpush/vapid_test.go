// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestKeyInJSON(t *testing.T) {
	ring := Ring{newTestKey(t), newTestKey(t)}
	text, err := json.Marshal(ring)
	require.NoError(t, err)
	var again Ring
	require.NoError(t, json.Unmarshal(text, &again))
	assert.Equal(t, ring, again)
	assert.Same(t, again[1], again.Find(ring[1].Public()))
	assert.Nil(t, again.Find(newTestKey(t).Public()))
	assert.Len(t, unbase64(t, ring[0].Public()), 65)

	// As "web-push generate-vapid-keys --json" prints it.
	var made Key
	require.NoError(t, json.Unmarshal([]byte(`{"publicKey":"BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8",
		"privateKey":"yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"}`), &made))
	assert.NotContains(t, fmt.Sprintf("%v %+v %s", &made, &made, &made), "yfWPiYE")

	for _, text := range []string{
		`{}`, `[]`, `{"publicKey":"","privateKey":""}`,
		`{"publicKey":"BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8","privateKey":"y"}`,
		`{"publicKey":"BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8","privateKey":"q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"}`,
		`{"publicKey":"x","privateKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`,
	} {
		err := json.Unmarshal([]byte(text), new(Key))
		require.ErrorIs(t, err, errKey, text)
		assert.NotContains(t, err.Error(), "q1dXpw")
	}
}

// expires reads the claim of a token in an Authorization field.
func expires(t *testing.T, authorization string) time.Time {
	t.Helper()
	parts := strings.Split(authorization, ".")
	require.Len(t, parts, 3)
	var claims struct {
		Exp int64
		Aud string
		Sub string
	}
	require.NoError(t, json.Unmarshal(unbase64(t, parts[1]), &claims))
	assert.Equal(t, "https://push.example.com", claims.Aud)
	assert.Equal(t, contact, claims.Sub)
	return time.Unix(claims.Exp, 0)
}

// A token is signed once and used for many messages, never after its end, and
// never with an end that a push service would not take.
func TestTokensAreReplacedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, key := newTokens(contact), newTestKey(t)
		signed := make(map[string]bool)
		for range 48 * 4 {
			authorization, err := tokens.authorization(key, "https://push.example.com")
			require.NoError(t, err)
			left := time.Until(expires(t, authorization))
			assert.Greater(t, left, time.Hour)
			assert.LessOrEqual(t, left, 24*time.Hour)
			signed[authorization] = true
			time.Sleep(15 * time.Minute)
		}
		assert.Len(t, signed, 5)
	})
}

func TestTokensAreForOneKeyAndService(t *testing.T) {
	tokens := newTokens(contact)
	seen := make(map[string]bool)
	for _, key := range []*Key{newTestKey(t), newTestKey(t)} {
		for _, origin := range []string{"https://a.example", "https://b.example"} {
			authorization, err := tokens.authorization(key, origin)
			require.NoError(t, err)
			assert.True(t, strings.HasSuffix(authorization, ", k="+key.Public()))
			seen[authorization] = true
		}
	}
	assert.Len(t, seen, 4)
	key := newTestKey(t)
	for i := range 2 * maxTokens {
		_, err := tokens.authorization(key, fmt.Sprintf("https://%d.example", i))
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, len(tokens.known), maxTokens, "users choose the services")
}

func BenchmarkToken(b *testing.B) {
	key := newTestKey(b)
	for b.Loop() {
		if _, err := key.token("https://push.example.com", contact, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
