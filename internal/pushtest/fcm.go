// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package pushtest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FCM is Google's service for tests and benchmarks: the HTTP v1 API and the exchange
// of a service account's assertion for an access token. It checks what Google
// documents that it checks.
type FCM struct {
	// Origin is scheme, host and port, of both.
	Origin string
	// Project is the only one that it knows.
	Project string
	// Discard makes it throw away what it took.
	Discard atomic.Bool
	// Opened is how many connections were.
	Opened atomic.Int64
	// Clock is its time. It is set before the first request.
	Clock func() time.Time
	// Life is how long access tokens live.
	Life time.Duration

	server *httptest.Server

	mu        sync.Mutex
	accounts  map[string]*rsa.PublicKey // by the ID of the key
	ends      map[string]time.Time      // of keys that do
	access    map[string]time.Time      // the end of access tokens
	apps      map[string]*App           // by token
	answer    http.HandlerFunc
	exchange  http.HandlerFunc
	posts     int
	exchanges int
}

const (
	fcmData = 4096
	// fcmAudience is the audience that Google documents for every assertion. Google's
	// client for Node.js uses it even if the file has another token_uri.
	fcmAudience = "https://oauth2.googleapis.com/token"
)

// StartFCM starts the service, which ends with the test.
func StartFCM(t testing.TB) *FCM {
	t.Helper()
	s := NewFCM()
	t.Cleanup(s.Close)
	return s
}

// NewFCM starts the service; the caller ends it with [FCM.Close].
func NewFCM() *FCM {
	s := &FCM{
		Project: "mail-app-1234", Clock: time.Now, Life: time.Hour, accounts: make(map[string]*rsa.PublicKey), ends: make(map[string]time.Time),
		access: make(map[string]time.Time), apps: make(map[string]*App),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/token", s.serveToken)
	mux.HandleFunc("GET /x509/{account}", s.serveCertificates)
	mux.HandleFunc("/", s.serve)
	s.server = httptest.NewUnstartedServer(mux)
	s.server.EnableHTTP2 = true
	s.server.Config.ErrorLog = quiet
	s.server.Config.ConnState = counting(&s.Opened)
	s.server.StartTLS()
	s.Origin = s.server.URL
	return s
}

// Close ends the service.
func (s *FCM) Close() { s.server.Close() }

// RootCAs are who signed its certificate.
func (s *FCM) RootCAs() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.server.Certificate())
	return pool
}

// CA is the certificate of who signed its own, in PEM.
func (s *FCM) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})
}

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

// Revoke deletes a key of the service account.
func (s *FCM) Revoke(keyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.accounts, keyID)
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

// Posts is how many messages have come.
func (s *FCM) Posts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.posts
}

// Answer makes every message be answered by h, and AnswerToken every exchange, or by
// the service again if it is nil.
func (s *FCM) Answer(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

// AnswerToken is documented at [FCM.Answer].
func (s *FCM) AnswerToken(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exchange = h
}

// Install puts an app on a device, of the project or of another one.
func (s *FCM) Install(t testing.TB, project string) *App {
	t.Helper()
	a, err := s.NewApp(project)
	require.NoError(t, err)
	a.t = t
	return a
}

// NewApp is [FCM.Install] for programs that are no tests.
func (s *FCM) NewApp(project string) (*App, error) {
	a, err := newApp("fcm", rand.Text()[:22]+":APA91b"+rand.Text()+rand.Text(), project, "")
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps[a.Token] = a
	return a, nil
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

// FCMError answers as FCM does: with the code of Google's APIs, one of FCM's, and
// the invalid field, where they are not empty.
func FCMError(w http.ResponseWriter, status int, general, code, field string) {
	var details []map[string]any
	if code != "" {
		details = append(details, map[string]any{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code})
	}
	if field != "" {
		details = append(details, map[string]any{
			"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": []map[string]string{{"field": field, "description": "Invalid"}},
		})
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "message": "the message", "status": general, "details": details}})
}

// fcmRequest is what the API knows of messages, as far as apps on Android need it.
type fcmRequest struct {
	ValidateOnly bool `json:"validate_only"`
	Message      struct {
		Token   string            `json:"token"`
		Data    map[string]string `json:"data"`
		Android struct {
			CollapseKey  string `json:"collapse_key"`
			Priority     string `json:"priority"`
			TTL          string `json:"ttl"`
			Notification *struct {
				BodyLocKey string `json:"body_loc_key"`
				Tag        string `json:"tag"`
			} `json:"notification"`
		} `json:"android"`
	} `json:"message"`
}

var (
	fcmTTL      = regexp.MustCompile(`^(\d+(\.\d{1,9})?s)?$`)
	fcmPriority = regexp.MustCompile(`^(NORMAL|HIGH|normal|high)?$`)
	fcmReserved = regexp.MustCompile(`^(from|message_type|google.*|gcm.*)$`)
	fcmToken    = regexp.MustCompile(`^[A-Za-z0-9_-]{11,}:[A-Za-z0-9_-]+$`)
)

// serve takes a message, as
// https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send describes
// it.
func (s *FCM) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.posts++
	answer := s.answer
	until, known := s.access[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	s.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		return
	}
	var is fcmRequest
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	switch {
	case r.Method != http.MethodPost:
		FCMError(w, http.StatusMethodNotAllowed, "", "", "")
	case !known || s.Clock().After(until):
		FCMError(w, http.StatusUnauthorized, "UNAUTHENTICATED", "", "")
	case r.URL.Path != "/v1/projects/"+s.Project+"/messages:send":
		FCMError(w, http.StatusForbidden, "PERMISSION_DENIED", "", "")
	case dec.Decode(&is) != nil:
		FCMError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "", "message")
	default:
		if field := is.invalid(); field != "" {
			FCMError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "INVALID_ARGUMENT", field)
			return
		}
		s.deliver(w, &is, r.Header, body)
	}
}

// invalid names the field that is.
func (r *fcmRequest) invalid() string {
	size := 0
	for name, value := range r.Message.Data {
		if size += len(name) + len(value); fcmReserved.MatchString(name) {
			return "message.data"
		}
	}
	if n := r.Message.Android.Notification; n != nil {
		size += len(n.BodyLocKey) + len(n.Tag)
	}
	switch {
	case !fcmToken.MatchString(r.Message.Token):
		return "message.token"
	case size > fcmData:
		return "message.data"
	case !fcmTTL.MatchString(r.Message.Android.TTL):
		return "message.android.ttl"
	case !fcmPriority.MatchString(r.Message.Android.Priority):
		return "message.android.priority"
	}
	return ""
}

// deliver gives a message to its device.
func (s *FCM) deliver(w http.ResponseWriter, is *fcmRequest, h http.Header, body []byte) {
	s.mu.Lock()
	app := s.apps[is.Message.Token]
	s.mu.Unlock()
	switch {
	case app == nil || !app.gone().IsZero():
		FCMError(w, http.StatusNotFound, "NOT_FOUND", "UNREGISTERED", "")
		return
	case app.Name != s.Project:
		FCMError(w, http.StatusForbidden, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", "")
		return
	case is.ValidateOnly, s.Discard.Load():
	default:
		m := AppMessage{Header: h, Body: body}
		var err error
		if m.Text, m.Sealed, err = app.open(is.Message.Data["message"], is.Message.Data["sealed"]); err != nil {
			FCMError(w, http.StatusBadRequest, "the app cannot open it", "", "")
			return
		}
		app.take(m)
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_ = json.NewEncoder(w).Encode(map[string]string{"name": "projects/" + s.Project + "/messages/0:" + rand.Text()})
}
