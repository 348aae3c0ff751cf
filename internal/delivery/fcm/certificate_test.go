// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package fcm

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// A key has the end that its certificate has, or none.
func TestKeyEnds(t *testing.T) {
	service := pushtest.StartFCM(t)
	devices, keyID := newDevices(t, service)
	account := devices.Account
	ends, err := account.KeyEnds(t.Context())
	require.NoError(t, err)
	assert.Zero(t, ends, "of the year 9999")

	want := time.Now().Add(20 * 24 * time.Hour).UTC().Truncate(time.Second)
	service.End(keyID, want)
	ends, err = account.KeyEnds(t.Context())
	require.NoError(t, err)
	assert.Equal(t, want, ends)

	service.Revoke(keyID)
	_, err = account.KeyEnds(t.Context())
	require.ErrorIs(t, err, ErrKeyUnknown)

	service.Close()
	_, err = account.KeyEnds(t.Context())
	require.ErrorIs(t, err, errCertificates)
	assert.NotContains(t, err.Error(), "iam.gserviceaccount.com")
}

func TestAnswersThatAreNoCertificates(t *testing.T) {
	service := pushtest.StartFCM(t)
	file, keyID, err := service.NewAccount()
	require.NoError(t, err)
	for _, answer := range []string{`{`, `[]`, `{"` + keyID + `":"s3cret"}`, `{"` + keyID + `":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}`} {
		google := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
		defer google.Close()
		account, err := NewAccount(file, func(string) (*http.Client, error) { return google.Client(), nil })
		require.NoError(t, err)
		account.certificatesURL = google.URL
		_, err = account.KeyEnds(t.Context())
		require.ErrorIs(t, err, errCertificates, answer)
		assert.NotContains(t, err.Error(), "s3cret")
	}

	// Where the file does not say where they are, nobody is asked.
	var is map[string]string
	require.NoError(t, json.Unmarshal(file, &is))
	delete(is, "client_x509_cert_url")
	file, err = json.Marshal(is)
	require.NoError(t, err)
	account, err := NewAccount(file, func(string) (*http.Client, error) { return http.DefaultClient, nil })
	require.NoError(t, err)
	ends, err := account.KeyEnds(t.Context())
	require.NoError(t, err)
	assert.Zero(t, ends)
}
