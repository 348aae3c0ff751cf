// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/targettest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

func secret(t testing.TB, of string) (text string, key []byte) {
	t.Helper()
	text = "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(of, 32)))
	key, err := ParseSecret(text)
	require.NoError(t, err)
	return text, key
}

// The reference implementation of Standard Webhooks takes what is signed, with
// each of the secrets, and nothing that was changed.
func TestStandardSignature(t *testing.T) {
	text, key := secret(t, "n")
	before, keyBefore := secret(t, "o")
	other, _ := secret(t, "x")
	for _, content := range []notification.Content{notification.Thin, notification.Full} {
		got := deliver(t, Config{Content: content, Secrets: [][]byte{key, keyBefore}})
		for _, s := range []string{text, before} {
			wh, err := standardwebhooks.NewWebhook(s)
			require.NoError(t, err)
			require.NoError(t, wh.Verify(got.body, got.header))
			assert.Error(t, wh.Verify(append(got.body, ' '), got.header))
			changed := got.header.Clone()
			changed.Set("Webhook-Id", "another")
			assert.Error(t, wh.Verify(got.body, changed))
			changed = got.header.Clone()
			changed.Set("Webhook-Timestamp", "1")
			assert.Error(t, wh.VerifyIgnoringTimestamp(got.body, changed))
		}
		wh, err := standardwebhooks.NewWebhook(other)
		require.NoError(t, err)
		assert.Error(t, wh.Verify(got.body, got.header))
		assert.Len(t, strings.Fields(got.header.Get("Webhook-Signature")), 2)
	}
}

// The other direction: what the reference implementation signs is what we do.
func TestSignatureOfReference(t *testing.T) {
	text, key := secret(t, "n")
	wh, err := standardwebhooks.NewWebhook(text)
	require.NoError(t, err)
	target := newTarget(t, Config{URL: "https://hooks.example", Secrets: [][]byte{key}})
	for _, body := range []string{"", "{}", strings.Repeat("ü", 1000)} {
		want, err := wh.Sign("msg_1", target.now(), []byte(body))
		require.NoError(t, err)
		header := make(http.Header)
		target.sign(header, "msg_1", strconv.FormatInt(target.now().Unix(), 10), []byte(body))
		assert.Equal(t, want, header.Get("Webhook-Signature"))
	}
}

func TestSignatureHeader(t *testing.T) {
	got := deliver(t, Config{SignatureHeader: "x-ox-signature", SignatureSecret: []byte("ox secret")})
	timestamp := got.header.Get("Webhook-Timestamp")
	h := hmac.New(sha256.New, []byte("ox secret"))
	h.Write([]byte("v1:" + timestamp + ":" + string(got.body)))
	assert.Equal(t, "t="+timestamp+",v1="+hex.EncodeToString(h.Sum(nil)), got.header.Get("X-Ox-Signature"))
	assert.NotContains(t, got.header, "Webhook-Signature")
}

func TestParseSecret(t *testing.T) {
	b64 := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, good := range []string{"whsec_" + b64(24), "whsec_" + b64(64), " whsec_" + b64(32) + "\n"} {
		_, err := ParseSecret(good)
		assert.NoError(t, err, good)
	}
	for _, bad := range []string{"", "whsec_", b64(32), "whsec_" + b64(23), "whsec_" + b64(65), "whsec_swordfish!", "whpk_" + b64(32), "whsec_" + strings.TrimRight(b64(32), "=")} {
		_, err := ParseSecret(bad)
		require.Error(t, err, bad)
		if len(bad) > 6 {
			assert.NotContains(t, err.Error(), strings.TrimPrefix(bad, "whsec_"))
		}
	}
}

// Signers are used by many goroutines at once.
func TestSignersAtOnce(t *testing.T) {
	r := startReceiver(t)
	text, key := secret(t, "n")
	target := newTarget(t, Config{URL: r.URL, Secrets: [][]byte{key}, SignatureHeader: "X-Signature", SignatureSecret: key})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				assert.Equal(t, delivery.Delivered, target.Deliver(t.Context(), targettest.Record()).Outcome)
			}
		})
	}
	wg.Wait()
	require.Len(t, r.got, 200)
	wh, err := standardwebhooks.NewWebhook(text)
	require.NoError(t, err)
	for _, got := range r.got {
		assert.NoError(t, wh.Verify(got.body, got.header))
	}
}
