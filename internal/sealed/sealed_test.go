// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	require.NoError(t, err)
	return b
}

// The message of RFC 8291, section 5 and appendix A, to the byte.
func TestVectorOfTheRFC(t *testing.T) {
	sender, err := ecdh.P256().NewPrivateKey(unbase64(t, "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
	require.NoError(t, err)
	device := unbase64(t, "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4")
	auth := unbase64(t, "BTBZMqHH6r4Tts7J_aSIgg")
	salt := unbase64(t, "DGv6ra1nlYgDCS1FRnbzlw")

	public, err := ecdh.P256().NewPublicKey(device)
	require.NoError(t, err)
	shared, err := sender.ECDH(public)
	require.NoError(t, err)
	assert.Equal(t, unbase64(t, "kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs"), shared)
	key, nonce, err := derive(shared, auth, device, sender.PublicKey().Bytes(), salt)
	require.NoError(t, err)
	assert.Equal(t, unbase64(t, "oIhVW04MRdy2XN9CiKLxTg"), key)
	assert.Equal(t, unbase64(t, "4h_95klXJ5E_qnoN"), nonce)

	body, err := seal([]byte("When I grow up, I want to be a watermelon"), device, auth, sender, [saltSize]byte(salt))
	require.NoError(t, err)
	assert.Equal(t, unbase64(t, "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"), body)
}

func newDevice(t testing.TB) (public, auth []byte) {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	auth = make([]byte, authSize)
	_, _ = rand.Read(auth)
	return key.PublicKey().Bytes(), auth
}

func TestLongestMessage(t *testing.T) {
	public, auth := newDevice(t)
	body, err := Seal(make([]byte, MaxPlaintext), public, auth)
	require.NoError(t, err)
	assert.Len(t, body, MaxBody)
	_, err = Seal(make([]byte, MaxPlaintext+1), public, auth)
	assert.ErrorIs(t, err, ErrTooLong)
}

// Neither the key pair of the sender nor the salt is ever used twice.
func TestEveryMessageIsFresh(t *testing.T) {
	public, auth := newDevice(t)
	seen := make(map[string]bool)
	for range 100 {
		body, err := Seal([]byte("the same"), public, auth)
		require.NoError(t, err)
		salt, key := string(body[:saltSize]), string(body[saltSize+5:headerSize])
		assert.False(t, seen[salt] || seen[key])
		seen[salt], seen[key] = true, true
	}
}

func TestUnusableKeys(t *testing.T) {
	public, auth := newDevice(t)
	for name, keys := range map[string][2][]byte{
		"none":                  {nil, nil},
		"no secret":             {public, nil},
		"short secret":          {public, auth[:15]},
		"long secret":           {public, append(bytes.Clone(auth), 0)},
		"cut short":             {public[:64], auth},
		"the point at infinity": {make([]byte, 1), auth},
		"zeros":                 {make([]byte, publicSize), auth},
		"a point off the curve": {append([]byte{4}, make([]byte, 64)...), auth},
		"a compressed point":    {append([]byte{2 + public[64]&1}, public[1:33]...), auth},
		"not of the field":      {append([]byte{4}, bytes.Repeat([]byte{0xff}, 64)...), auth},
		"with something behind": {append(bytes.Clone(public), 0), auth},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Seal([]byte("hello"), keys[0], keys[1])
			assert.ErrorIs(t, err, ErrKeys)
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	public, auth := newDevice(b)
	message := make([]byte, 300)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Seal(message, public, auth); err != nil {
			b.Fatal(err)
		}
	}
}
