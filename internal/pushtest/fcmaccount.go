// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package pushtest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// NewAccount makes a key of the service account, as the JSON file that Google gives
// out, and its ID.
func (s *FCM) NewAccount() (file []byte, keyID string, err error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, "", err
	}
	keyID = rand.Text()
	s.mu.Lock()
	s.accounts[keyID] = &private.PublicKey
	s.mu.Unlock()
	file, err = json.Marshal(map[string]string{
		"type": "service_account", "project_id": s.Project, "private_key_id": keyID,
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": s.email(), "client_id": "1", "token_uri": s.Origin + "/token",
		"client_x509_cert_url": s.Origin + "/x509/" + url.PathEscape(s.email()),
	})
	return file, keyID, err
}

func (s *FCM) email() string { return "push@" + s.Project + ".iam.gserviceaccount.com" }

// AccountFile is a new key in a file.
func (s *FCM) AccountFile(t testing.TB) (path, keyID string) {
	t.Helper()
	file, keyID, err := s.NewAccount()
	require.NoError(t, err)
	path = filepath.Join(t.TempDir(), "service-account.json")
	require.NoError(t, os.WriteFile(path, file, 0o600))
	return path, keyID
}

// End gives a key an end. Keys have none otherwise.
func (s *FCM) End(keyID string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends[keyID] = at
}

// Revoke deletes a key of the service account.
func (s *FCM) Revoke(keyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.accounts, keyID)
}

// serveCertificates gives out a certificate for each key of the account, which is how
// others check its signatures.
func (s *FCM) serveCertificates(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.PathValue("account") != s.email() {
		http.NotFound(w, r)
		return
	}
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	all := make(map[string]string)
	for keyID, key := range s.accounts {
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: s.Clock().Add(-time.Hour),
			NotAfter: time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC),
		}
		if end, ok := s.ends[keyID]; ok {
			cert.NotAfter = end
		}
		der, err := x509.CreateCertificate(rand.Reader, cert, cert, key, signer)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		all[keyID] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_ = json.NewEncoder(w).Encode(all)
}

// Forget makes all access tokens invalid.
func (s *FCM) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.access)
}

// Exchanges is how many access tokens were asked for.
func (s *FCM) Exchanges() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exchanges
}

// serveToken is Google's token endpoint, see
// https://developers.google.com/identity/protocols/oauth2/service-account#httprest.
func (s *FCM) serveToken(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exchanges++
	if s.exchange != nil {
		s.exchange(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if problem := s.assertion(r); problem != "" {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": problem})
		return
	}
	token := "ya29." + rand.Text()
	s.access[token] = s.Clock().Add(s.Life)
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(s.Life.Seconds())})
}

// assertion reports what is wrong with one. s.mu is held.
func (s *FCM) assertion(r *http.Request) string {
	if r.Method != http.MethodPost || r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return "Bad Request"
	}
	var header struct{ Alg, Typ, Kid string }
	var claims struct {
		Iss, Scope, Aud string
		Iat, Exp        int64
	}
	parts := strings.Split(r.FormValue("assertion"), ".")
	if len(parts) != 3 || !decodeJSON(parts[0], &header) || !decodeJSON(parts[1], &claims) {
		return "Invalid JWT"
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	hash := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	verifies := func(key *rsa.PublicKey) bool {
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, hash[:], signature) == nil
	}
	var valid bool
	if header.Kid == "" { // it is optional: every key of the account is tried
		valid = slices.ContainsFunc(slices.Collect(maps.Values(s.accounts)), verifies)
	} else if key := s.accounts[header.Kid]; key != nil {
		valid = verifies(key)
	}
	now := s.Clock().Unix()
	switch {
	case err != nil || header.Alg != "RS256" || !valid:
		return "Invalid JWT Signature."
	case claims.Iss != s.email():
		return "Invalid grant: account not found"
	case claims.Aud != s.Origin+"/token" && claims.Aud != fcmAudience:
		return "Invalid JWT: Failed audience check."
	case claims.Exp <= now || claims.Iat > now+60 || claims.Exp-claims.Iat > 3700:
		return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."
	case !strings.Contains(claims.Scope, "firebase.messaging") && !strings.Contains(claims.Scope, "cloud-platform"):
		return "Invalid OAuth scope."
	}
	return ""
}
