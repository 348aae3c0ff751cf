// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package pushtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// APNs is Apple's service for tests and benchmarks: it speaks HTTP/2 only, and
// checks what Apple documents that it checks. One stands for both environments.
type APNs struct {
	// Origin is scheme, host and port.
	Origin string
	// TeamID is the only team that it knows.
	TeamID string
	// Discard makes it throw away what it took.
	Discard atomic.Bool
	// Opened is how many connections were.
	Opened atomic.Int64
	// GoAwayEvery makes it close a connection after so many answers of all, if not
	// 0.
	GoAwayEvery atomic.Int64
	// Clock is its time. It is set before the first request.
	Clock func() time.Time

	server  *httptest.Server
	checked sync.Map // authorizations that were found right, with when they end

	mu     sync.Mutex
	keys   map[string]*apnsKey // by ID
	topics map[string]bool
	apps   map[string]*App // by token
	answer http.HandlerFunc
	posts  int
}

type apnsKey struct {
	public string
	issued int64 // of the newest token
	tokens int
}

// The bounds of APNs.
const (
	apnsTokenLife  = time.Hour
	apnsTokenPause = 20 * time.Minute
	apnsPayload    = 4096
	apnsCollapse   = 64
)

// StartAPNs starts the service, which ends with the test.
func StartAPNs(t testing.TB, topics ...string) *APNs {
	t.Helper()
	s := NewAPNs(0, topics...)
	t.Cleanup(s.Close)
	return s
}

// NewAPNs starts the service with at most so many streams on a connection, or as
// many as usual; the caller ends it with [APNs.Close].
func NewAPNs(streams int, topics ...string) *APNs {
	s := &APNs{TeamID: "TEAM123456", Clock: time.Now, keys: make(map[string]*apnsKey), topics: make(map[string]bool), apps: make(map[string]*App)}
	for _, t := range topics {
		s.topics[t] = true
	}
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.server.EnableHTTP2 = true
	s.server.TLS = &tls.Config{NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
	s.server.Config.ErrorLog = quiet
	s.server.Config.ConnState = counting(&s.Opened)
	if streams > 0 {
		s.server.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: streams}
	}
	s.server.StartTLS()
	s.Origin = s.server.URL
	return s
}

// Close ends the service.
func (s *APNs) Close() { s.server.Close() }

// RootCAs are who signed its certificate.
func (s *APNs) RootCAs() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.server.Certificate())
	return pool
}

// CA is the certificate of who signed its own, in PEM.
func (s *APNs) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})
}

// NewKey makes a key, as the .p8 file that Apple gives out, and its ID.
func (s *APNs) NewKey() (key []byte, id string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, "", err
	}
	public, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, "", err
	}
	id = rand.Text()[:10]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[id] = &apnsKey{public: base64.RawURLEncoding.EncodeToString(public)}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), id, nil
}

// KeyFile is a new key in a file.
func (s *APNs) KeyFile(t testing.TB) (file, id string) {
	t.Helper()
	key, id, err := s.NewKey()
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "AuthKey_"+id+".p8")
	require.NoError(t, os.WriteFile(file, key, 0o600))
	return file, id
}

// Revoke makes a key invalid.
func (s *APNs) Revoke(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, id)
	s.checked.Clear()
}

// Tokens is how many different provider tokens of a key have come.
func (s *APNs) Tokens(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.keys[id]; k != nil {
		return k.tokens
	}
	return 0
}

// Posts is how many requests have come.
func (s *APNs) Posts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.posts
}

// Answer makes every request be answered by h, or by the service again if it is
// nil.
func (s *APNs) Answer(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

// Install puts an app on a device.
func (s *APNs) Install(t testing.TB, topic, environment string) *App {
	t.Helper()
	a, err := s.NewApp(topic, environment)
	require.NoError(t, err)
	a.t = t
	return a
}

// NewApp is [APNs.Install] for programs that are no tests.
func (s *APNs) NewApp(topic, environment string) (*App, error) {
	var token [32]byte
	_, _ = rand.Read(token[:])
	a, err := newApp("apns", hex.EncodeToString(token[:]), topic, environment)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps[a.Token] = a
	return a, nil
}

// APNsReason answers as APNs does.
func APNsReason(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"reason": reason})
}

var (
	deviceToken = regexp.MustCompile(`^[0-9a-f]{64,200}$`)
	pushTypes   = regexp.MustCompile(`^(alert|background|location|voip|complication|fileprovider|mdm|liveactivity|pushtotalk)$`)
	priorities  = regexp.MustCompile(`^(1|5|10)?$`)
)

// serve takes a message, as
// https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
// describes it.
func (s *APNs) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.posts++
	answer, posts := s.answer, s.posts
	s.mu.Unlock()
	if every := s.GoAwayEvery.Load(); every > 0 && int64(posts)%every == 0 {
		w.Header().Set("Connection", "close") // which is GOAWAY in HTTP/2
	}
	if answer != nil {
		answer(w, r)
		return
	}
	w.Header().Set("Apns-Id", "eabeae54-14a8-11e5-b60b-1697f925ec7b")
	body, err := io.ReadAll(io.LimitReader(r.Body, apnsPayload+1))
	if err != nil {
		return
	}
	token, ok := strings.CutPrefix(r.URL.Path, "/3/device/")
	h := r.Header
	var payload struct {
		APS map[string]any `json:"aps"`
	}
	switch {
	case r.ProtoMajor != 2:
		APNsReason(w, http.StatusHTTPVersionNotSupported, "HTTP/2 only")
	case r.Method != http.MethodPost:
		APNsReason(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
	case !ok:
		APNsReason(w, http.StatusNotFound, "BadPath")
	case len(body) > apnsPayload:
		APNsReason(w, http.StatusRequestEntityTooLarge, "PayloadTooLarge")
	case len(body) == 0:
		APNsReason(w, http.StatusBadRequest, "PayloadEmpty")
	default:
		if status, reason := s.authorize(h.Get("Authorization")); status != 0 {
			APNsReason(w, status, reason)
			return
		}
		switch {
		case !deviceToken.MatchString(token):
			APNsReason(w, http.StatusBadRequest, "BadDeviceToken")
		case h.Get("Apns-Topic") == "":
			APNsReason(w, http.StatusBadRequest, "MissingTopic")
		case !s.topics[h.Get("Apns-Topic")]:
			APNsReason(w, http.StatusBadRequest, "TopicDisallowed")
		case !pushTypes.MatchString(h.Get("Apns-Push-Type")):
			APNsReason(w, http.StatusBadRequest, "InvalidPushType")
		case !priorities.MatchString(h.Get("Apns-Priority")), h.Get("Apns-Push-Type") == "background" && h.Get("Apns-Priority") != "5":
			APNsReason(w, http.StatusBadRequest, "BadPriority")
		case !expiration(h.Get("Apns-Expiration")):
			APNsReason(w, http.StatusBadRequest, "BadExpirationDate")
		case len(h.Get("Apns-Collapse-Id")) > apnsCollapse:
			APNsReason(w, http.StatusBadRequest, "BadCollapseId")
		case json.Unmarshal(body, &payload) != nil || !asPushed(payload.APS, h.Get("Apns-Push-Type")):
			APNsReason(w, http.StatusBadRequest, "PayloadEmpty")
		default:
			s.deliver(w, h, token, body)
		}
	}
}

// expiration reports whether the header Apns-Expiration is valid. It is optional.
func expiration(s string) bool {
	_, err := strconv.ParseUint(s, 10, 63)
	return s == "" || err == nil
}

// asPushed reports whether the payload is one of its push type: a device would drop
// others.
func asPushed(aps map[string]any, pushType string) bool {
	if pushType == "background" {
		return aps["content-available"] == 1.0 && aps["alert"] == nil && aps["sound"] == nil
	}
	return aps["alert"] != nil
}

// deliver gives a message to its device.
func (s *APNs) deliver(w http.ResponseWriter, h http.Header, token string, body []byte) {
	s.mu.Lock()
	app := s.apps[token]
	s.mu.Unlock()
	switch {
	case app == nil:
		APNsReason(w, http.StatusBadRequest, "BadDeviceToken")
	case app.Name != h.Get("Apns-Topic"):
		APNsReason(w, http.StatusBadRequest, "DeviceTokenNotForTopic")
	case !app.gone().IsZero():
		w.WriteHeader(http.StatusGone)
		_ = json.NewEncoder(w).Encode(map[string]any{"reason": "Unregistered", "timestamp": app.gone().UnixMilli()})
	case s.Discard.Load():
	default:
		var given struct {
			Message json.RawMessage
			Sealed  string
		}
		_ = json.Unmarshal(body, &given)
		m := AppMessage{Header: h, Body: body}
		var err error
		if m.Text, m.Sealed, err = app.open(string(given.Message), given.Sealed); err != nil {
			APNsReason(w, http.StatusBadRequest, "the extension cannot open it")
			return
		}
		app.take(m)
	}
}

// authorize returns 0 for a provider token that is right, else what to answer.
func (s *APNs) authorize(authorization string) (status int, reason string) {
	now := s.Clock()
	if until, known := s.checked.Load(authorization); known && now.Before(until.(time.Time)) {
		return 0, ""
	}
	token, ok := strings.CutPrefix(authorization, "bearer ")
	if !ok {
		return http.StatusForbidden, "MissingProviderToken"
	}
	var header struct{ Alg, Kid string }
	var claims struct {
		Iss string
		Iat int64
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 || !decodeJSON(parts[0], &header) || !decodeJSON(parts[1], &claims) {
		return http.StatusForbidden, "InvalidProviderToken"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := s.keys[header.Kid]
	age := now.Sub(time.Unix(claims.Iat, 0))
	switch {
	case header.Alg != "ES256" || key == nil || !signed(token, key.public) || claims.Iss != s.TeamID || age < -time.Minute:
		return http.StatusForbidden, "InvalidProviderToken"
	case age > apnsTokenLife:
		return http.StatusForbidden, "ExpiredProviderToken"
	case claims.Iat > key.issued && claims.Iat-key.issued < int64(apnsTokenPause/time.Second):
		return http.StatusTooManyRequests, "TooManyProviderTokenUpdates"
	}
	if claims.Iat != key.issued {
		key.tokens++
	}
	key.issued = max(key.issued, claims.Iat)
	s.checked.Store(authorization, time.Unix(claims.Iat, 0).Add(apnsTokenLife))
	return 0, ""
}
