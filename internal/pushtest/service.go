// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package pushtest is a push service for tests and benchmarks, as browser
// makers run them: it speaks RFC 8030 over TLS and HTTP/2, takes messages of
// the one server whose VAPID key a subscription was made with (RFC 8292), and
// has user agents that decrypt what comes (RFC 8291). [APNs] and [FCM] are those of
// Apple and Google. The folder independent has a push service and clients of APNs and
// FCM that were not made here: they show that both sides agree with others.
package pushtest

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// maxBody is the least that a push service has to take.
const maxBody = 4096

// Service is a running push service.
type Service struct {
	// Origin is scheme, host and port of its endpoints.
	Origin string
	// Discard makes it throw away what it took, so that a benchmark measures
	// the other side.
	Discard atomic.Bool

	server *httptest.Server
	tokens sync.Map // authorizations that were found right

	mu      sync.Mutex
	devices map[string]*Device // by path
	answer  http.HandlerFunc   // in place of the service, if not nil
	dialect *Dialect
	posts   int
}

// Start starts a push service that ends with the test.
func Start(t testing.TB) *Service {
	t.Helper()
	s := New()
	t.Cleanup(s.Close)
	return s
}

// New starts a push service; the caller ends it with [Service.Close].
func New() *Service {
	s := &Service{devices: make(map[string]*Device)}
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.server.EnableHTTP2 = true
	s.server.Config.ErrorLog = quiet
	s.server.StartTLS()
	s.Origin = s.server.URL
	return s
}

// Close ends the service.
func (s *Service) Close() { s.server.Close() }

// RootCAs are who signed its certificate.
func (s *Service) RootCAs() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.server.Certificate())
	return pool
}

// CAFile writes the certificate of who signed its own into a file, for the
// variable SSL_CERT_FILE of another process.
func (s *Service) CAFile(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "push-ca.pem")
	require.NoError(t, os.WriteFile(file, s.CA(), 0o600))
	return file
}

// CA is the certificate of who signed its own, in PEM.
func (s *Service) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})
}

// Answer makes every request be answered by h, or by the service again if it
// is nil.
func (s *Service) Answer(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

// Dialect is how the services of one vendor say what they do not like. What is
// not set is said as the RFCs have it.
type Dialect struct {
	// MaxBody is the longest message that is taken, in bytes.
	MaxBody int
	// OtherKey answers a message that is signed with another key than that of
	// the subscription, Contact one whose contact is not in the Internet.
	OtherKey, Contact *Answer
}

// Answer is one of a push service.
type Answer struct {
	Status int
	Body   string
}

// Speak makes the service speak a dialect.
func (s *Service) Speak(d Dialect) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialect = &d
}

// Posts is how many requests have come.
func (s *Service) Posts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.posts
}

// Subscribe makes a subscription that only the server with this VAPID key can
// send to: its public key, in base64url.
func (s *Service) Subscribe(t testing.TB, serverKey string) *Device {
	t.Helper()
	d, err := s.NewDevice(serverKey)
	require.NoError(t, err)
	d.t = t
	return d
}

// NewDevice is [Service.Subscribe] for programs that are no tests.
func (s *Service) NewDevice(serverKey string) (*Device, error) {
	path := "/push/" + rand.Text()
	d, err := newDevice(s.Origin+path, serverKey)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices[path] = d
	return d, nil
}

func (a *Answer) or(status int) *Answer {
	if a == nil {
		return &Answer{Status: status, Body: "VAPID"}
	}
	return a
}

func (a *Answer) write(w http.ResponseWriter) { http.Error(w, a.Body, a.Status) }

// serve takes a message (RFC 8030, section 5).
func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.posts++
	device, answer := s.devices[r.URL.Path], s.answer
	var dialect Dialect
	if s.dialect != nil {
		dialect = *s.dialect
	}
	s.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return
	}
	ttl, err := strconv.ParseUint(r.Header.Get("TTL"), 10, 31)
	switch {
	case device == nil:
		http.Error(w, "no such subscription", http.StatusNotFound)
	case r.Method != http.MethodPost:
		http.Error(w, "POST only", http.StatusMethodNotAllowed)
	case device.isGone():
		http.Error(w, "unsubscribed", http.StatusGone)
	case err != nil:
		http.Error(w, "TTL is required", http.StatusBadRequest)
	case len(body) > maxBody, dialect.MaxBody > 0 && len(body) > dialect.MaxBody:
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	case r.Header.Get("Content-Encoding") != "aes128gcm":
		http.Error(w, "Content-Encoding", http.StatusUnsupportedMediaType)
	case !validTopic(r.Header.Get("Topic")), !validUrgency(r.Header.Get("Urgency")):
		http.Error(w, "Topic or Urgency", http.StatusBadRequest)
	default:
		if status := s.authorize(r, device.serverKey); status != 0 {
			dialect.OtherKey.or(status).write(w)
			return
		}
		if dialect.Contact != nil && localContact(r) {
			dialect.Contact.write(w)
			return
		}
		if !s.Discard.Load() {
			device.take(Message{TTL: int(ttl), Urgency: r.Header.Get("Urgency"), Topic: r.Header.Get("Topic"), Body: body})
		}
		w.Header().Set("Location", s.Origin+"/message/"+rand.Text())
		w.WriteHeader(http.StatusCreated)
	}
}
