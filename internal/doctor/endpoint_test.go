// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/doveconf"
	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

// TestMain lets no busy machine be found to be slow.
func TestMain(m *testing.M) {
	slow = time.Minute
	m.Run()
}

// endpointOf answers like the notify endpoint of a Caddy.
func endpointOf(t *testing.T, secure bool, status int) (u, caFile string) {
	t.Helper()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "korrekt" && status == http.StatusOK {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = nil
	if secure {
		server.StartTLS()
		caFile = filepath.Join(t.TempDir(), "ca.crt")
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		require.NoError(t, os.WriteFile(caFile, block, 0o600))
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "://", "://dovecot:korrekt@", 1) + notifyPath, caFile
}

func way(u, caFile string) Way { return Way{URL: u, TLS: doveconf.Client{CAFile: caFile}} }

func TestEndpoint(t *testing.T) {
	for _, secure := range []bool{false, true} {
		u, ca := endpointOf(t, secure, http.StatusOK)
		require.Empty(t, complaints(Endpoint(t.Context(), way(u, ca))))
		requireOne(t, Endpoint(t.Context(), way(strings.Replace(u, "korrekt", "falsch", 1), ca)), "endpoint-credentials", "401")
		for status, check := range map[int]string{
			http.StatusForbidden: "endpoint-allow", http.StatusNotFound: "endpoint-path", http.StatusTooManyRequests: "endpoint-credentials",
			http.StatusServiceUnavailable: "queue", http.StatusInternalServerError: "endpoint", http.StatusMovedPermanently: "endpoint",
		} {
			u, ca := endpointOf(t, secure, status)
			requireOne(t, Endpoint(t.Context(), way(u, ca)), check, "")
		}
	}
}

// An endpoint that asks for no credentials is named, where Dovecot has some to
// show.
func TestEndpointOpenToStrangers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"success":true}`) }))
	defer server.Close()
	requireOne(t, Endpoint(t.Context(), way(strings.Replace(server.URL, "://", "://dovecot:korrekt@", 1), "")), "endpoint-stranger", "shows none")
	require.Empty(t, complaints(Endpoint(t.Context(), way(server.URL, ""))))
}

// A server that says 200 to everything is not the endpoint.
func TestAnotherServerThatAnswers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	requireOne(t, Endpoint(t.Context(), way(strings.Replace(server.URL, "://", "://dovecot:korrekt@", 1), "")), "endpoint-path", "not from the notify endpoint")
}

func TestEndpointThatCannotBeReached(t *testing.T) {
	secure, ca := endpointOf(t, true, http.StatusOK)
	plain, _ := endpointOf(t, false, http.StatusOK)
	dead, err := freeport.Address()
	require.NoError(t, err)
	broken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer broken.Close()
	go func() {
		for {
			conn, err := broken.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	empty := filepath.Join(t.TempDir(), "empty.crt")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))

	requireOne(t, Endpoint(t.Context(), way(secure, "")), "endpoint-tls", "does not trust")
	requireOne(t, Endpoint(t.Context(), way(secure, "missing.crt")), "endpoint-tls", "no such file")
	requireOne(t, Endpoint(t.Context(), way(secure, empty)), "endpoint-tls", "no certificate in ")
	requireOne(t, Endpoint(t.Context(), way(strings.Replace(secure, "127.0.0.1", "localhost", 1), ca)), "endpoint-tls", "another name than localhost")
	requireOne(t, Endpoint(t.Context(), way(strings.Replace(secure, "https", "http", 1), "")), "endpoint-tls", "it talks TLS")
	requireOne(t, Endpoint(t.Context(), way(strings.Replace(plain, "http", "https", 1), "")), "endpoint-tls", "does not talk TLS")
	requireOne(t, Endpoint(t.Context(), way("http://u:korrekt@"+dead+"/n", "")), "endpoint", "nothing listens there")
	requireOne(t, Endpoint(t.Context(), way("http://u:korrekt@"+broken.Addr().String()+"/n", "")), "endpoint", "ended without an answer")
	requireOne(t, Endpoint(t.Context(), way("http://u:korrekt@no-such-host.invalid/n", "")), "endpoint", "cannot be looked up")
	requireOne(t, Endpoint(t.Context(), way("nonsense", "")), "endpoint", "is not valid")
}

func TestEndpointWithExpiredCertificate(t *testing.T) {
	cert, ca := expired(t)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	defer server.Close()
	requireOne(t, Endpoint(t.Context(), way(server.URL, ca)), "endpoint-tls", "expired")
}

func TestEndpointSlowAndWithAnotherClock(t *testing.T) {
	before := slow
	slow = 10 * time.Millisecond
	defer func() { slow = before }()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		_, _ = io.WriteString(w, `{"success":true}`)
	}))
	defer server.Close()
	found := complaints(Endpoint(t.Context(), way(server.URL, "")))
	require.Len(t, found, 2)
	require.Equal(t, "endpoint-latency", found[0].Check)
	require.Equal(t, "clock", found[1].Check)
}

// Two instances that answer at one address are distinguished, and one that is
// not the Caddy that was asked for its status.
func TestEndpointSharedWithAnother(t *testing.T) {
	ids := make(chan string, 2*shared)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(adminapi.ProbeHeader) != "" {
			w.Header().Set(adminapi.InstanceHeader, <-ids)
		}
		_, _ = io.WriteString(w, `{"success":true}`)
	}))
	defer server.Close()
	for _, answers := range []struct {
		ids, asked string
		shared     bool
	}{{"A", "A", false}, {"A", "", false}, {"AB", "A", true}, {"B", "A", true}} {
		for len(ids) > 0 {
			<-ids
		}
		for i := range cap(ids) {
			ids <- answers.ids[i%len(answers.ids):][:1]
		}
		found := Endpoint(t.Context(), Way{URL: server.URL, Instance: answers.asked})
		if answers.shared {
			requireOne(t, found, "endpoint-shared", "2 Caddys answer")
		} else {
			require.Empty(t, complaints(found))
		}
	}
}

// Dovecot shows no credentials if the URL has no password.
func TestEndpointWithAUserOnly(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		_, _ = io.WriteString(w, `{"success":true}`)
	}))
	defer server.Close()
	for _, user := range []string{"dovecot@", ":korrekt@"} {
		require.Empty(t, complaints(Endpoint(t.Context(), Way{URL: strings.Replace(server.URL, "://", "://"+user, 1)})), user)
	}
}

// For a URL with an address Dovecot sends the address as server name, which
// crypto/tls never does.
func TestHelloWithAnAddress(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	names := make(chan string, 1)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = tls.Server(conn, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				names <- hello.ServerName
				return nil, io.ErrUnexpectedEOF
			}}).HandshakeContext(t.Context())
			conn.Close()
		}
	}()
	for host, want := range map[string]string{
		"https://127.0.0.1:8009/n": "127.0.0.1", "https://[::1]:8009/n": "[::1]", "https://[::1]/n": "[::1]", "https://push.example.com/n": "",
	} {
		u, err := url.Parse(host)
		require.NoError(t, err)
		name := sentName(u)
		require.Equal(t, want, name, host)
		if name == "" {
			continue
		}
		u.Host = listener.Addr().String()
		require.Contains(t, refusedName(t.Context(), u, name), "internal error")
		require.Equal(t, want, <-names)
	}
}

func requireOne(t *testing.T, findings []Finding, check, says string) {
	t.Helper()
	found := complaints(findings)
	require.Len(t, found, 1)
	require.Equal(t, check, found[0].Check)
	require.Contains(t, found[0].Got, says)
	require.NotEmpty(t, found[0].Fix)
	require.NotContains(t, found[0].Got+found[0].Tried, "korrekt", "the password is not shown")
	require.NotContains(t, found[0].Got+found[0].Tried, "falsch", "the password is not shown")
}
