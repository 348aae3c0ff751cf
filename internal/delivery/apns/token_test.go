// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package apns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device/devicetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// inPEM is a private key as tools write it.
func inPEM(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestKeysThatAreNone(t *testing.T) {
	good, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	const id, team = "ABCDE12345", "TEAM123456"
	_, err = NewProvider(inPEM(t, good), id, team)
	require.NoError(t, err)
	for _, key := range [][]byte{nil, []byte("key"), inPEM(t, large), inPEM(t, other), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")})} {
		_, err := NewProvider(key, id, team)
		require.ErrorIs(t, err, errKey)
	}
	for _, ids := range [][2]string{{"", team}, {id, ""}, {"abcde12345", team}, {id, "TEAM 12345"}, {id + "X", team}} {
		_, err := NewProvider(inPEM(t, good), ids[0], ids[1])
		require.ErrorIs(t, err, errIDs)
	}
}

// A token is used for three quarters of an hour, by many at once, and no other one is
// made before APNs would accept it.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		p, err := NewProvider(inPEM(t, key), "ABCDE12345", "TEAM123456")
		require.NoError(t, err)
		seen := make(map[string]time.Time)
		for range 8 * 60 {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					_, err := p.token()
					assert.NoError(t, err)
				})
			}
			wg.Wait()
			token, err := p.token()
			require.NoError(t, err)
			if _, known := seen[token]; !known {
				seen[token] = time.Now()
			}
			age := time.Since(seen[token])
			assert.Less(t, age, time.Hour)
			time.Sleep(time.Minute)
		}
		assert.Len(t, seen, 11, "in eight hours")

		require.NoError(t, p.sign())
		first, err := p.token()
		require.NoError(t, err)
		time.Sleep(tokenPause - time.Second)
		require.ErrorIs(t, p.renew(first), errFresh)
		assert.Equal(t, time.Minute, p.wait())
		time.Sleep(time.Second)
		require.NoError(t, p.renew(first))
		second, err := p.token()
		require.NoError(t, err)
		assert.NotEqual(t, first, second)
		require.NoError(t, p.renew(first), "somebody else has")
		third, err := p.token()
		require.NoError(t, err)
		assert.Equal(t, second, third)
		assert.Equal(t, tokenPause, p.wait())
	})
}

// APNs goes by its own clock. A token that is too old by that is renewed under load,
// once, and no message fails. Where the clocks are an hour apart, that is said.
func TestOtherClocks(t *testing.T) {
	service := pushtest.StartAPNs(t, topic)
	devices, id := newDevices(t, service)
	phone := subscriptionOf(t, service.Install(t, topic, ""))
	_, err := devices.Provider.token()
	require.NoError(t, err)
	devices.Provider.made = devices.Provider.made.Add(-30 * time.Minute) // by our clock it is 30 minutes old
	service.Clock = func() time.Time { return time.Now().Add(59 * time.Minute) }
	require.Equal(t, delivery.Delivered, devices.SendMail(t.Context(), phone, devicetest.NewMail()).Outcome)
	require.Equal(t, 1, service.Tokens(id))

	expired, _ := devices.Provider.token()
	service.Answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "bearer "+expired {
			pushtest.APNsReason(w, http.StatusForbidden, "ExpiredProviderToken")
		}
	})
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 5 {
				assert.Equal(t, delivery.Result{Outcome: delivery.Delivered}, devices.SendMail(t.Context(), phone, devicetest.NewMail()))
			}
		})
	}
	wg.Wait()
	service.Answer(nil)
	service.Clock = func() time.Time { return time.Now().Add(2 * time.Hour) }
	r := devices.SendMail(t.Context(), phone, devicetest.NewMail())
	assert.Equal(t, []any{delivery.Misconfigured, delivery.FaultOfService, reasonExpired}, []any{r.Outcome, r.Fault, r.Reason})
	assert.ErrorContains(t, r.Err, "clock")
	assert.LessOrEqual(t, service.Tokens(id), 2)
}

// Two processes that use one key at the same time make APNs complain, and leave it
// alone until it takes another token.
func TestTooManyTokens(t *testing.T) {
	service := pushtest.StartAPNs(t, topic)
	key, id, err := service.NewKey()
	require.NoError(t, err)
	phone := subscriptionOf(t, service.Install(t, topic, ""))
	send := func(age time.Duration) delivery.Result {
		devices, _ := newDevices(t, service)
		devices.Provider, err = NewProvider(key, id, service.TeamID)
		require.NoError(t, err)
		require.NoError(t, devices.Provider.signAt(time.Now().Add(-age)))
		return devices.SendMail(t.Context(), phone, devicetest.NewMail())
	}
	assert.Equal(t, delivery.Delivered, send(10*time.Minute).Outcome)
	r := send(0)
	assert.Equal(t, []any{delivery.TryAgain, delivery.FaultOfService, true}, []any{r.Outcome, r.Fault, r.Pause})
	assert.InDelta(t, 20, r.After.Minutes(), 1)
	assert.Equal(t, delivery.Delivered, send(10*time.Minute).Outcome, "the first token is still good")
}
