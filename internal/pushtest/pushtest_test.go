// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package pushtest

import (
	"crypto/ecdh"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func decode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	require.NoError(t, err)
	return b
}

// The message of RFC 8291, section 5.
func TestDecrypt(t *testing.T) {
	private, err := ecdh.P256().NewPrivateKey(decode(t, "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"))
	require.NoError(t, err)
	auth := decode(t, "BTBZMqHH6r4Tts7J_aSIgg")
	body := decode(t, "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN")
	plain, err := Decrypt(body, private, auth)
	require.NoError(t, err)
	assert.Equal(t, "When I grow up, I want to be a watermelon", string(plain))
	body[len(body)-1] ^= 1
	_, err = Decrypt(body, private, auth)
	assert.Error(t, err)
}

// The token of RFC 8292, section 2.4, which has expired, for the key of its
// section 3.2.
func TestVerify(t *testing.T) {
	const (
		token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3NjgsInN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSSHzvoD1oA"
		key   = "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs"
	)
	until, ok := verify(token, key, "https://push.example.net")
	assert.False(t, ok, "it has expired")
	assert.EqualValues(t, 1453523768, until.Unix())
	assert.True(t, signed(token, key), "but it was signed with this key")
	assert.False(t, signed(token[:len(token)-3]+"AAA", key))
}
