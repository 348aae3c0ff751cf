// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package pushtest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
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
